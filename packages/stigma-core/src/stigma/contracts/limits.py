"""Sizes, counts and times that the services agree on. Sizes are bytes as encoded."""

from __future__ import annotations

from datetime import timedelta

# Temporal refuses payloads over 2 MiB, and some refusals terminate the run: stay well below.
MAX_PAYLOAD_BYTES = 3 * 512 * 1024
MAX_TEMPORAL_PAYLOAD_BYTES = 2 * 1024 * 1024
MAX_MESSAGE_BYTES = 1024 * 1024
MAX_INPUT_BYTES = 1024 * 1024
MAX_TOKEN_BYTES = 16 * 1024
MAX_LABELS = 32
# Sizes of one label and of all of an execution's labels that Temporal's databases index.
MAX_LABEL_BYTES = 255
MAX_LABELS_BYTES = 2000
MAX_ENV = 64
MAX_REQUEST_ID_BYTES = 256
MAX_REASON_BYTES = 1000
# Size of an error that ended a workflow's run, beside which an execution is carried.
MAX_ERROR_BYTES = 64 * 1024
MAX_BINDINGS = 100
# Size of a list's page, which may end early for it: gRPC's clients take 4 MiB by default.
MAX_PAGE_BYTES = 3 * 1024 * 1024

# Size of a workflow document's text.
MAX_DOCUMENT_BYTES = 512 * 1024
# Microseconds, on a slow core and roughly, of reading and compiling a document: a workflow task
# does it in one piece, and is taken for stuck after 2 s. Some 1,400 short tasks in YAML.
MAX_DOCUMENT_WEIGHT = 500_000
DOCUMENT_TOO_LARGE = "the document is too large"
"""Begin of the engine's message about a document whose weight is more."""

# Size of an output that still fits beside the rest of an AgentExecution.
MAX_OUTPUT_BYTES = 1024 * 1024

DEFAULT_TIMEOUT = timedelta(hours=24)
# Time within which a waiting caller notices the loss of its worker, or of the agent.
DEFAULT_HEARTBEAT_TIMEOUT = timedelta(minutes=5)
DEFAULT_STEPS = 50
MAX_STEPS = 1000

DEFAULT_TOOL_CALLS = 500
MAX_TOOL_CALLS = 10_000
# Tools of one agent, and calls of one answer.
MAX_TOOLS = 128
MAX_CALLS_AT_ONCE = 128
DEFAULT_TOOL_TIMEOUT = timedelta(seconds=60)
MAX_TOOL_TIMEOUT = timedelta(hours=24)
DEFAULT_TOOL_START_TIMEOUT = timedelta(seconds=60)
DEFAULT_TOOL_ATTEMPTS = 3
MAX_TOOL_ATTEMPTS = 100
DEFAULT_TOOL_RESULT_BYTES = 32 * 1024
MAX_TOOL_RESULT_BYTES = 256 * 1024
MAX_TOOL_ERROR_BYTES = 4 * 1024
# Levels of agents below an execution, and executions of them, unless settings say otherwise; and
# the most that settings may say.
DEFAULT_AGENT_DEPTH = 5
DEFAULT_SUB_AGENTS = 100
MAX_AGENT_DEPTH = 20
MAX_SUB_AGENTS = 1000
# Agents that one execution may run at once, and the size of those that its tools lead to: each
# start carries them, and a workflow task may issue no more than 4 MiB of commands.
MAX_SUB_AGENTS_AT_ONCE = 10
MAX_SUB_AGENTS_BYTES = 192 * 1024
MAX_SUB_AGENT_NAMES = 64
# How long an execution that was stopped waits for the end of the agents below it.
SUB_AGENTS_STOP_GRACE = timedelta(seconds=30)
# Last steps of a conversation that stay as they are when it is made smaller.
DEFAULT_KEEP_STEPS = 3
MAX_KEEP_STEPS = 100
# Share of a model's window at which a conversation is made smaller, unless the agent says when.
CONTEXT_SHARE = 0.8
MAX_SUMMARY_TOKENS = 4096
MAX_SUMMARY_BYTES = 64 * 1024
# How long executions wait for people, unless they say otherwise, and at most.
DEFAULT_INPUT_TIMEOUT = timedelta(hours=24)
MAX_INPUT_TIMEOUT = timedelta(days=30)
MAX_APPROVAL_RULES = 32
# What an expression of an approval rule is evaluated over, as JSON.
MAX_RULE_VALUE_BYTES = 1024 * 1024
# Schema of the answer to a question: a model writes it.
MAX_QUESTION_SCHEMA_BYTES = 64 * 1024
# What an MCP server asks at once: how many questions, their texts, schemas and addresses together,
# one text, one address, what it wants back, and one answer; how often it may ask within one call.
MAX_MCP_QUESTIONS = 16
MAX_MCP_QUESTIONS_BYTES = 256 * 1024
MAX_MCP_QUESTION_BYTES = 16 * 1024
MAX_URL_BYTES = 2 * 1024
MAX_MCP_STATE_BYTES = 256 * 1024
MAX_MCP_RESPONSE_BYTES = 16 * 1024
MAX_MCP_ROUNDS = 10
# What goes back to MCP servers at once: JSON may double it, and Temporal takes 4 MiB at once.
MAX_MCP_SENT_BYTES = 1024 * 1024
# Pending inputs of an execution, all in one memo: further questions of MCP servers wait.
MAX_PENDING_INPUTS = 256
# Delay before a call is sent again whose server has only asked for patience.
MCP_RESUME_DELAY = timedelta(seconds=1)
# Delays between two requests about a task: a part of the time that it has taken, within bounds.
MIN_MCP_POLL_DELAY = timedelta(seconds=1)
MAX_MCP_POLL_DELAY = timedelta(minutes=5)
MCP_POLL_SHARE = 0.05
# Duration of one request about a task, of which a part may pass until it is sent; and of all tries
# to have a task cancelled.
MCP_POLL_TIMEOUT = timedelta(seconds=30)
MCP_POLL_START_TIMEOUT = timedelta(seconds=10)
MCP_CANCEL_TIMEOUT = timedelta(seconds=15)
# How long an execution that was stopped waits for the cancel of tasks.
MCP_TASKS_STOP_GRACE = timedelta(seconds=20)
# A question as lists and events show it.
MAX_QUESTION_VIEW_BYTES = 200
# A message sent to a running execution, and how many of them wait for its model at most.
MAX_SENT_MESSAGE_BYTES = 64 * 1024
MAX_SENT_MESSAGES = 20
# Updates that a run accepts before it continues as new; Temporal takes 2,000.
MAX_RUN_UPDATES = 1500
# Accepted updates whose repetition is known after the run that accepted them.
MAX_CARRIED_UPDATES = 500
# Signals of an agent's own workflow to its execution; Temporal takes 10,000. What it waits for from
# people at once, and the sizes of what it tells of a step.
MAX_RUNTIME_SIGNALS = 5000
MAX_RUNTIME_INPUTS = 20
MAX_RUNTIME_ID_BYTES = 128
MAX_REPORT_STEP_BYTES = 200
MAX_REPORT_TEXT_BYTES = 64 * 1024
# How long an execution that was stopped waits for the end of the workflow that is its agent.
RUNTIME_STOP_GRACE = timedelta(seconds=10)
# Turns that wait in one session.
MAX_WAITING_TURNS = 100
# How long a turn keeps its place without a workflow: longer than the API takes to start that.
TURN_START_GRACE = timedelta(seconds=20)
# Size of the conversation that a session carries, as JSON, and what is left of it when its oldest
# turns are dropped: rarely, since providers cache what does not change.
MAX_SESSION_BYTES = MAX_PAYLOAD_BYTES
SHRUNK_SESSION_BYTES = MAX_SESSION_BYTES * 3 // 4
# How long a session is kept without being used, unless settings say otherwise, and at most.
DEFAULT_SESSION_IDLE_TIMEOUT = timedelta(days=30)
MAX_SESSION_IDLE_TIMEOUT = timedelta(days=365)
# Size of the definitions, as listed, of the tools of MCP servers that one agent has.
MAX_MCP_DEFINITIONS_BYTES = 256 * 1024
# Time for which an MCP server may be away when an execution starts.
MCP_AWAY_TIMEOUT = timedelta(seconds=60)
# Answers in a row whose tool calls were all refused, at which an execution fails.
MAX_REFUSED_ANSWERS = 5
# Outputs in a row that were not accepted, after which an execution fails.
OUTPUT_RETRIES = 3
# Size of an execution beyond which a view of it leaves out the oldest texts, and the arguments of
# calls that wait for people: Temporal refuses answers to queries over 2 MiB.
MAX_VIEW_BYTES = 7 * 256 * 1024
# Size and length of a run's history at which an execution fails that cannot continue as new.
# Temporal terminates it at 50 MiB or 51,200 events.
MAX_HISTORY_BYTES = 40 * 1024 * 1024
MAX_HISTORY_EVENTS = 40_000
# Size up to which results of tool calls may fill it; what is left is for the run's end.
MAX_RESULTS_HISTORY_BYTES = 47 * 1024 * 1024

# Margin by which the outcome must reach a caller before the caller's own timeout does.
CALLBACK_MARGIN = timedelta(seconds=30)

# Declared heartbeat timeout of a caller from which on a worker keeps the watch over it. A watch
# that was lost begins elsewhere after its own heartbeat timeout, which must leave time.
LEAST_KEPT_HEARTBEAT_TIMEOUT = timedelta(minutes=1)

# Difference of two machines' clocks beyond which operators are told.
MAX_CLOCK_SKEW = timedelta(seconds=2)

# Share of an execution's time after which operators are warned.
WARN_AFTER = 0.8

DEFAULT_REQUEST_TIMEOUT = timedelta(minutes=10)
MODEL_CALL_HEARTBEAT_TIMEOUT = timedelta(seconds=10)
# Size, decoded, at which reading a provider's response stops: it is another party's.
MAX_PROVIDER_RESPONSE_BYTES = 8 * 1024 * 1024

# Schemas come from anybody, and what checks values against them cannot be interrupted. At most so
# much of a schema is evaluated at one place of a value, and in a whole value; one evaluation takes
# up to a microsecond. A pattern's states are those of its automaton: "a{400}" has 400.
MAX_SCHEMA_DEPTH = 200
MAX_SCHEMA_PATTERNS = 100
MAX_PATTERN_STATES = 50_000
MAX_PATTERN_BACKTRACKS = 10_000
MAX_SCHEMA_EVALUATIONS_AT_ONCE = 5_000
MAX_SCHEMA_EVALUATIONS = 200_000
MAX_SCHEMA_FRAMES = 2_000
# Copies of a value in the description of what is wrong with it take some ten times as much memory.
MAX_DESCRIPTION_BYTES = 4 * 1024 * 1024
