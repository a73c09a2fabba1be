"""One description of a stream's options for library, HTTP and client."""

import inspect
from dataclasses import fields
from typing import get_type_hints

from augment.client import Client
from augment.streams.options import STREAM_OPTIONS, StreamKeywords, StreamOptions
from augment.streams.stream import Stream
from service.streams.streams import StreamRequest


def test_keywords_are_the_fields() -> None:
    assert get_type_hints(StreamKeywords).keys() == {each.name for each in fields(StreamOptions)}


def test_the_request_has_all_options_with_their_defaults_and_descriptions() -> None:
    for name, option in STREAM_OPTIONS.items():
        member = StreamRequest.model_fields[name]
        assert (member.default, member.description) == (option.default, option.metadata["description"])


def test_library_and_client_take_the_keywords_and_name_no_option_again() -> None:
    for function in (Stream.__init__, Client.stream):
        parameters = inspect.signature(function).parameters
        assert not parameters.keys() & STREAM_OPTIONS.keys()
        assert parameters["options"].kind is inspect.Parameter.VAR_KEYWORD
