"""Errors of the runtime.

RuntimeError
└── ServiceError
    └── ConfigurationError    what the operator wrote cannot work: one line, exit 2
"""

from __future__ import annotations


class ServiceError(RuntimeError):
    """The service cannot continue; its text is the reason, fit to be logged."""


class ConfigurationError(ServiceError):
    """The configuration cannot work, however often the service is started."""
