"""OpenAPI 3.0 and 3.1 and Swagger 2.0: requests made of a document, an operation and arguments.

All of it is pure: `build_request` raises MissingDocumentError for a document that a relative `$ref`
leads to, and is called again once that was added.
"""

from __future__ import annotations

from zigflow_worker.openapi.documents import ApiDocuments, MissingDocumentError, Part
from zigflow_worker.openapi.requests import build_request

__all__ = ["ApiDocuments", "MissingDocumentError", "Part", "build_request"]
