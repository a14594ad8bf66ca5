"""What users type, as a model reads it; where it does not, each problem in our words."""

from collections.abc import Mapping, Sized
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from domain.errors import ErrorCode, Problem, Refused


def validated(model: type[BaseModel], values: Mapping[str, Any]) -> BaseModel:
    """The values as the model reads them. Raises Refused with all problems, which quote no value: it may be secret."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise Refused(*(_problem(detail) for detail in error.errors(include_url=False))) from None


def _problem(detail: ErrorDetails) -> Problem:
    code, message = _said(detail)
    return Problem(code, message, tuple(str(part) for part in detail["loc"]))


def _said(detail: ErrorDetails) -> tuple[ErrorCode, str]:
    """https://docs.pydantic.dev/latest/errors/validation_errors/"""
    context, is_text = detail.get("ctx", {}), isinstance(detail["input"], str | SecretStr)
    match detail["type"]:
        case _ if detail["type"] == "missing" or detail["input"] is None:
            return ErrorCode.BLANK, "Required."
        case "too_short" | "string_too_short" if _is_blank(detail["input"]):
            return ErrorCode.BLANK, "Required."
        case "too_short" | "string_too_short" if is_text:
            return ErrorCode.INVALID, f"Use at least {context['min_length']} characters."
        case "too_long" | "string_too_long" if is_text:
            return ErrorCode.TOO_LONG, f"Use at most {context['max_length']} characters."
        case "too_long":
            return ErrorCode.INVALID, f"Choose at most {context['max_length']}."
        case "string_pattern_mismatch":
            return ErrorCode.INVALID, "Has another form than expected."
        case "extra_forbidden":
            return ErrorCode.INVALID, "There is no such field: leave it out."
        case _:
            return ErrorCode.INVALID, f"{detail['msg'].removeprefix('Value error, ').rstrip('.')}."


def _is_blank(value: object) -> bool:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    return not (text.strip() if isinstance(text, str) else isinstance(text, Sized) and len(text))
