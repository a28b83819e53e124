Feature: Steps that no scenario of the kit has
  As an engineer of this engine
  I want to have every step that the kit's README names
  So that scenarios to come can be bound

  Scenario: Own Steps About Tasks That End In Each Way
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: own-steps
      version: '1.0.0'
    do:
      - begin:
          set:
            a: 1
      - careful:
          try:
            - inner:
                do:
                  - count:
                      set:
                        b: ${ .a + 1 }
                      output:
                        as: .b
            - fail:
                raise:
                  error:
                    type: urn:failed
                    status: 500
          catch:
            do:
              - handle:
                  set:
                    list: [1, 2, 3]
      - race:
          fork:
            compete: true
            branches:
              - slow:
                  wait: PT1H
              - fast:
                  set: ${ . }
    output:
      as: '{ list, more: { list } }'
    """
    And given the workflow input is:
    """yaml
    ignored: true
    """
    When the workflow is executed
    Then the workflow should complete
    And the workflow output should have properties 'list', 'more.list'
    And the workflow output should have a 'more.list' property containing 3 items
    And the workflow output should have a 'more' property with value:
    """yaml
    list: [1, 2, 3]
    """
    And begin should run first
    And fast should run last
    And begin should run before careful
    And race should run after careful
    And begin should complete
    And slow should cancel
    And fail should fault
    And count should complete with output:
    """yaml
    2
    """
    And fail should fault with error:
    """yaml
    type: urn:failed
    status: 500
    instance: /do/1/careful/try/1/fail
    """

  Scenario: Own Steps About A Workflow That Is Cancelled
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: own-cancelled
      version: '1.0.0'
    do:
      - pause:
          wait: PT1H
    """
    When the workflow is cancelled
    Then the workflow should cancel
    And pause should cancel

  Scenario: Own Steps About A Workflow That Faults
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: own-faulted
      version: '1.0.0'
    do:
      - fail:
          raise:
            error:
              type: urn:failed
              status: 500
    """
    When the workflow is executed
    Then the workflow should fault
    And the workflow should fault with error:
    """yaml
    type: urn:failed
    status: 500
    instance: /do/0/fail
    """
