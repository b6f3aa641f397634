"""Forms of the suite pages: import, one case, and what holds for all cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from django import forms
from django.conf import settings

from apps.evaluations.imports import FORMATS, judged
from apps.evaluations.suitefile import MAX_FILE_BYTES, Suite
from apps.evaluations.suitefile.dump import dump_yaml
from apps.evaluations.suitefile.events import ReadError, build, yaml_events
from apps.evaluations.suitefile.render import prompt_texts, variables
from apps.registry.models import ModelVersion
from apps.web.forms_work import VersionField

MONO = {"rows": 6, "class": "mono", "spellcheck": "false"}
ASKING = ("tools", "tool_choice", "response_format")


def shipped_suites() -> list[tuple[str, str]]:
    """Folder and name of the suites that come with the product."""
    found = []
    for file in sorted(Path(settings.EVALS_DIR).glob("*/suite.yaml")):
        name = file.parent.name
        try:
            document = yaml.safe_load(file.read_text(encoding="utf-8"))
            name = str(document["name"])
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
            pass  # a damaged file is listed by its folder; importing it says what is wrong
        found.append((file.parent.name, name))
    return found


class SuiteImportForm(forms.Form):
    file = forms.FileField(
        label="Suite file",
        required=False,
        help_text="YAML or JSON, at most 10 MB.",
        widget=forms.ClearableFileInput(attrs={"accept": ".yaml,.yml,.json,.jsonl,.csv,.eval,.gz"}),
    )
    cases = forms.FileField(
        label="Cases in a file of their own",
        required=False,
        help_text="JSON Lines, where the suite file holds no cases itself.",
        widget=forms.ClearableFileInput(attrs={"accept": ".jsonl,.ndjson"}),
    )
    shipped = forms.ChoiceField(label="Or one that ships with GovTrack", required=False)
    format = forms.ChoiceField(
        label="Form of the file",
        required=False,
        choices=[
            ("", "Tell by its name and beginning"),
            ("govtrack", "GovTrack suite"),
            *((f.name, f.label) for f in FORMATS.values()),
        ],
    )
    scorer = forms.ChoiceField(
        label="How answers are judged",
        required=False,
        help_text="Where the file itself does not say.",
        choices=[("", "As the format usually does"), *judged.HELP.items()],
    )
    prompt = forms.CharField(
        label="Template for a table",
        required=False,
        max_length=20_000,
        help_text="A question with {{column}} for each column of a CSV file.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    slug = forms.SlugField(label="Short name", required=False, max_length=64)
    name = forms.CharField(required=False, max_length=100)
    license = forms.CharField(
        label="Licence of the data",
        required=False,
        max_length=100,
        help_text="SPDX, such as CC0-1.0.",
    )
    source = forms.CharField(label="Where the cases come from", required=False, max_length=2000)
    personal_data = forms.ChoiceField(
        label="Personal data in the cases",
        required=False,
        choices=[("", "Not known: note yes"), ("no", "None"), ("yes", "Yes")],
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        megabytes = MAX_FILE_BYTES // (1024 * 1024)
        self.fields[
            "file"
        ].help_text = f"A suite in YAML or JSON, or another tool's file; at most {megabytes} MB."
        shipped = self.fields["shipped"]
        assert isinstance(shipped, forms.ChoiceField)
        shipped.choices = [("", "None of these"), *shipped_suites()]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        file, cases, shipped = (data.get(name) for name in ("file", "cases", "shipped"))
        for name, upload in (("file", file), ("cases", cases)):
            if upload and upload.size > MAX_FILE_BYTES:
                size = upload.size / (1024 * 1024)
                self.add_error(
                    name,
                    f"“{upload.name[:80]}” has {size:.1f} MB; {MAX_FILE_BYTES // 1048576} MB are "
                    "allowed. Split the suite into several.",
                )
        wanted = data.get("personal_data")
        data["personal_data"] = {"yes": True, "no": False}.get(wanted or "")
        if file and shipped:
            self.add_error("shipped", "Choose a file or one of these, not both.")
        elif not file and not shipped and not self.errors:
            self.add_error("file", "Choose a file, or one of the suites that ship below.")
        return data


def as_yaml(value: Any) -> str:
    """A value for a text area that `read_yaml` reads back; nothing for an empty one."""
    if value in (None, {}, []):
        return ""
    return dump_yaml(value).removesuffix("...\n")


def read_yaml(text: str) -> Any:
    """Raises ValidationError with line and column."""
    try:
        return build(yaml_events(text)) if text.strip() else None
    except ReadError as error:
        raise forms.ValidationError(
            f"Line {error.line}, column {error.column}: {error.message}"
        ) from None


class CaseForm(forms.Form):
    """One case of a suite. Variables of the prompt are fields of their own."""

    case_id = forms.CharField(
        label="Id",
        max_length=100,
        help_text="Keep it when you reword a case: its history stays together.",
    )
    messages = forms.CharField(
        label="Messages",
        required=False,
        strip=False,
        help_text="The whole conversation as YAML, instead of the suite's prompt.",
        widget=forms.Textarea(attrs={**MONO, "rows": 8}),
    )
    expect = forms.CharField(
        label="Expected",
        required=False,
        strip=False,
        help_text="What the scorers compare with. Leave it empty where nothing is expected.",
        widget=forms.Textarea(attrs={"rows": 3, "class": "mono"}),
    )
    expect_kind = forms.ChoiceField(
        label="Expected is",
        choices=[("text", "a text"), ("value", "a number, list or mapping (YAML or JSON)")],
        required=False,
    )
    tags = forms.CharField(required=False, max_length=1400, help_text="Parted by commas.")
    weight = forms.FloatField(
        required=False, min_value=0.000001, max_value=1000, help_text="In the mean; 1 unless said."
    )
    note = forms.CharField(
        required=False,
        max_length=2000,
        help_text="For people.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    asking = forms.CharField(
        label="Tools and answer form",
        required=False,
        help_text="tools, tool_choice and response_format as YAML, instead of the suite's own.",
        widget=forms.Textarea(attrs={**MONO, "rows": 3}),
    )
    version = VersionField(
        label="Try it against",
        required=False,
        queryset=ModelVersion.objects.none(),
        empty_label="Choose a version",
        help_text="A real call, now. Its answer is shown and not stored.",
    )
    reason = forms.CharField(
        label="Why",
        required=False,
        max_length=2000,
        help_text="One sentence for the history. Needed to save.",
    )

    def __init__(self, *args: Any, suite: Suite, versions: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        version = self.fields["version"]
        assert isinstance(version, VersionField)
        version.queryset = versions
        names = dict.fromkeys(
            name
            for text in (prompt_texts(suite.prompt) if suite.prompt else ())
            for name in variables(text)
        )
        self.variables = [f"var_{name}" for name in names]
        for name in names:
            self.fields[f"var_{name}"] = forms.CharField(
                label=name,
                required=False,
                strip=False,
                widget=forms.Textarea(attrs={"rows": 3}),
            )

    @property
    def variable_fields(self) -> list[Any]:
        return [self[name] for name in self.variables]

    @staticmethod
    def initial_of(case: dict[str, Any]) -> dict[str, Any]:
        expect = case.get("expect")
        initial: dict[str, Any] = {
            "case_id": case["id"],
            "messages": as_yaml(case.get("messages")),
            "expect": expect if isinstance(expect, str) else as_yaml(expect),
            "expect_kind": "text" if isinstance(expect, str) or expect is None else "value",
            "tags": ", ".join(case.get("tags", ())),
            "weight": case.get("weight", 1),
            "note": case.get("note", ""),
            "asking": as_yaml({k: case[k] for k in ASKING if k in case}),
        }
        for name, value in case.get("vars", {}).items():
            initial[f"var_{name}"] = value if isinstance(value, str) else json.dumps(value)
        return initial

    def clean_messages(self) -> Any:
        return read_yaml(self.cleaned_data["messages"])

    def clean_asking(self) -> dict[str, Any]:
        value = read_yaml(self.cleaned_data["asking"])
        if value is None:
            return {}
        if not isinstance(value, dict) or set(value) - set(ASKING):
            raise forms.ValidationError(f"Write a mapping with: {', '.join(ASKING)}.")
        return value

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        data["expect"] = data.get("expect", "").replace("\r\n", "\n")  # as browsers end lines
        if data.get("expect_kind") == "value":
            try:
                data["expect"] = read_yaml(data["expect"])
            except forms.ValidationError as error:
                self.add_error("expect", error)
        return data

    def case(self, before: dict[str, Any]) -> dict[str, Any]:
        """The case as it is written here; what this form does not show is kept from before."""
        data = self.cleaned_data
        case: dict[str, Any] = {"id": data["case_id"].strip()}
        if data["messages"]:
            case["messages"] = data["messages"]
        else:
            old = before.get("vars", {})
            values = dict(old)
            for field in self.variables:
                name = field.removeprefix("var_")
                values[name] = _typed(data.get(field, ""), old.get(name))
            if values:
                case["vars"] = values
        if data["expect"] not in ("", None):
            case["expect"] = data["expect"]
        tags = [tag.strip() for tag in data["tags"].split(",") if tag.strip()]
        if tags:
            case["tags"] = tags
        if data["weight"] not in (None, 1):
            case["weight"] = data["weight"]
        if data["note"]:
            case["note"] = data["note"]
        return {**case, **data["asking"]}


def _typed(text: str, before: Any) -> Any:
    """A variable that was a number or a list stays one; browsers end lines with CR LF."""
    text = text.replace("\r\n", "\n")
    if isinstance(before, str) or before is None:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


class SuiteForm(forms.Form):
    """What holds for all cases: facts, prompt, scorers, and the thresholds of the metrics."""

    name = forms.CharField(max_length=100)
    summary = forms.CharField(
        label="What it measures", max_length=2000, widget=forms.Textarea(attrs={"rows": 2})
    )
    not_measured = forms.CharField(
        label="What it does not measure", max_length=2000, widget=forms.Textarea(attrs={"rows": 2})
    )
    license = forms.CharField(label="Licence of the data", max_length=100)
    source = forms.CharField(label="Where the cases come from", max_length=2000)
    personal_data = forms.BooleanField(label="Cases hold personal data", required=False)
    metrics = forms.CharField(
        help_text="Each with key, label, scorer, direction and margin: from how much on a change "
        "matters.",
        widget=forms.Textarea(attrs={**MONO, "rows": 10}),
    )
    scorers = forms.CharField(
        help_text="Each with key, type and its parameters.",
        widget=forms.Textarea(attrs={**MONO, "rows": 8}),
    )
    prompt = forms.CharField(
        required=False,
        strip=False,
        help_text="messages with {{variables}}, and an optional prefix of examples.",
        widget=forms.Textarea(attrs={**MONO, "rows": 8}),
    )
    defaults = forms.CharField(
        label="For every call",
        required=False,
        help_text="max_tokens, stop, tools, tool_choice, response_format.",
        widget=forms.Textarea(attrs={**MONO, "rows": 4}),
    )
    reason = forms.CharField(
        label="Why", max_length=2000, help_text="One sentence for the history."
    )
    YAML = ("metrics", "scorers", "prompt", "defaults")
    FACTS = ("name", "summary", "not_measured", "license", "source", "personal_data")

    @classmethod
    def initial_of(cls, document: dict[str, Any]) -> dict[str, Any]:
        initial = {key: document.get(key) for key in cls.FACTS}
        return {**initial, **{key: as_yaml(document.get(key)) for key in cls.YAML}}

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        for key in self.YAML:
            if key in data:
                try:
                    data[key] = read_yaml(data[key])
                except forms.ValidationError as error:
                    self.add_error(key, error)
        return data

    def changes(self, before: dict[str, Any]) -> dict[str, Any]:
        """Only what differs, so that a key that nobody touched is not rewritten."""
        given = {key: self.cleaned_data[key] for key in (*self.FACTS, *self.YAML)}
        return {key: value for key, value in given.items() if value != before.get(key)}
