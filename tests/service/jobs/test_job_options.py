"""The command and the service's models have every option of an expansion."""

import inspect
from dataclasses import fields

from augment.cli import expand
from augment.expansion.spec import ExpansionOptions
from service.routes.jobs import JobDocument, JobRequest, OutputRequest

_NAMES = {field.name for field in fields(ExpansionOptions)}
_OUTPUT_FORMAT = {"output_format"}  # `format` in requests and documents


def test_a_request_has_every_option() -> None:
    assert JobRequest.model_fields.keys() | OutputRequest.model_fields.keys() >= _NAMES - _OUTPUT_FORMAT


def test_a_document_has_every_option_that_decides_the_files() -> None:
    assert _NAMES - _OUTPUT_FORMAT - {"allow_leaks"} <= JobDocument.model_fields.keys()


def test_the_command_has_every_option() -> None:
    assert inspect.signature(expand.expand).parameters.keys() >= _NAMES
