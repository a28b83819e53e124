package dev.stigma.caller;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.PrintStream;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.Map;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Gets one record a step of a hand-off: token_taken, start_requested, acknowledged, pending. */
@FunctionalInterface
public interface EventLog {
  void log(String event, Map<String, Object> fields);

  /** Log lines of SLF4J: the event, then its fields. */
  static EventLog slf4j() {
    Logger logger = LoggerFactory.getLogger(EventLog.class);
    return (event, fields) -> logger.info("{} {}", event, fields);
  }

  /** One JSON object a line, with the names that Stigma's services use. */
  static EventLog jsonLines(PrintStream out) {
    ObjectMapper json = new ObjectMapper();
    return (event, fields) -> {
      Map<String, Object> line = new LinkedHashMap<>();
      line.put("timestamp", Instant.now().toString());
      line.put("level", "info");
      line.put("event", event);
      line.putAll(fields);
      try {
        out.println(json.writeValueAsString(line));
      } catch (JsonProcessingException e) {
        throw new IllegalArgumentException("a field of " + event + " has no JSON form", e);
      }
    };
  }
}
