"""From raw documents (mappings out of YAML or JSON) to policies and isolation rules.

The shapes are Cloudflare Access's, so that a policy can be pasted over. Every function returns ``(value, problems)``; the value is
None exactly when a problem is an error. An unknown key is an error: a security option that is silently ignored is a hole
(the class of GHSA-652x). Documentation: https://developers.cloudflare.com/cloudflare-one/access-controls/policies/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from isolation.policy.controls import (
    BOUNDS,
    CONTROL_KEYS,
    MAX_DOMAINS,
    MAX_NOTICE,
    Clipboard,
    Controls,
    Transfer,
    narrowest,
)
from isolation.policy.model import Action, Condition, IsolationRule, Mode, Policy
from isolation.policy.reading import Path, Problem, Problems, Section, key_text, nearest, shown
from isolation.policy.registry import BY_KEY, ELSEWHERE
from renderer.wire.controls import ClipboardKind, FileKind

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

POLICY_KEYS = ("name", "decision", "include", "require", "exclude")
RULE_KEYS = ("name", "include", "require", "exclude", "mode", "controls")

_DECISIONS = {"allow": Action.ALLOW, "deny": Action.DENY, "block": Action.DENY, "bypass": Action.BYPASS}

# Keys of the Access API's policy object that carry no meaning for enforcement.
_INFORMATIVE = frozenset({"id", "uid", "created_at", "updated_at", "app_count", "reusable"})

# Keys that would change what is enforced: refused where they ask for something, with what to do instead.
_NOT_HERE = {
    "precedence": "policies run in the order written; put them in the order of their precedence and remove this key",
    "isolation_required": "write a rule under isolation: instead, with the same include",
    "purpose_justification_required": "asking for a justification does not exist yet; remove this key",
    "purpose_justification_prompt": "asking for a justification does not exist yet; remove this key",
    "approval_required": "approvals do not exist yet; remove this key",
    "approval_groups": "approvals do not exist yet; remove this key",
    "mfa_config": "ask for a second factor in Entra Conditional Access; remove this key",
    "session_duration": "set the session's length on the app; remove this key",
    "connection_rules": "say what may cross under controls: of an isolation rule; remove this key",
}


def parse_policy(
    raw: object, *, path: Path = (), providers: Collection[str] | None = None
) -> tuple[Policy | None, list[Problem]]:
    """Read one Access policy. ``path`` prefixes problem paths; ``providers``: names of configured identity providers, if known."""
    return _read(_policy, raw, path, providers)


def parse_isolation_rule(
    raw: object, *, path: Path = (), providers: Collection[str] | None = None
) -> tuple[IsolationRule | None, list[Problem]]:
    """Read one isolation rule; arguments as in :func:`parse_policy`."""
    return _read(_isolation_rule, raw, path, providers)


def parse_controls(raw: object, *, path: Path = ()) -> tuple[Controls | None, list[Problem]]:
    """Read a ``controls`` mapping. What is not named stays at its strictest (the keyboard works)."""
    return _read(_controls, raw, path, None)


def parse_policies(
    raw: object, *, path: Path = (), providers: Collection[str] | None = None
) -> tuple[tuple[Policy, ...] | None, list[Problem]]:
    """Read the policies of an app: a non-empty list with names that differ."""

    def read(value: object, where: Path, problems: Problems) -> tuple[Policy, ...]:
        return _several(
            value, where, problems, _policy, what="policies", example="[{name: Staff, decision: allow, include: […]}]"
        )

    return _read(read, raw, path, providers)


def parse_isolation_rules(
    raw: object, *, path: Path = (), providers: Collection[str] | None = None
) -> tuple[tuple[IsolationRule, ...] | None, list[Problem]]:
    """Read isolation rules: a list, which may be empty, with names that differ."""

    def read(value: object, where: Path, problems: Problems) -> tuple[IsolationRule, ...]:
        if isinstance(value, list | tuple) and not value:
            return ()
        return _several(value, where, problems, _isolation_rule, what="isolation", example="[{name: Contractors, include: […]}]")

    return _read(read, raw, path, providers)


def _read(
    read: Callable[[object, Path, Problems], T | None], raw: object, path: Path, providers: Collection[str] | None
) -> tuple[T | None, list[Problem]]:
    problems = Problems(providers=providers)
    value = read(raw, path, problems)
    return (None if problems.fatal else value), problems.found


def _several(
    raw: object, path: Path, problems: Problems, read: Callable[[object, Path, Problems], T | None], *, what: str, example: str
) -> tuple[T, ...]:
    if not isinstance(raw, list | tuple) or not raw:
        problems.error(
            path, f"{what} must be a list with at least one entry, not {shown(raw)}; write for example {what}: {example}"
        )
        return ()
    values: list[T] = []
    names: dict[str, int] = {}
    for index, entry in enumerate(raw):
        value = read(entry, (*path, index), problems)
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if isinstance(name, str) and names.setdefault(name, index) != index:
            problems.error(
                (*path, index, "name"),
                f"the name {shown(name)} is taken by entry {names[name] + 1}; decisions are explained by name",
            )
        if value is not None:
            values.append(value)
    return tuple(values)


def _policy(raw: object, path: Path, problems: Problems) -> Policy | None:
    section = Section.of(raw, path, problems, what="a policy")
    if section is None:
        return None
    _foreign_keys(section)
    name = section.name()
    action = _decision(section)
    include, require, exclude = _blocks(section)
    if action is Action.BYPASS:
        _bypass_is_blind(section)
    if action in {Action.ALLOW, Action.BYPASS}:
        _foot_guns(section, action, include)
    if name is None or action is None or include is None or require is None or exclude is None:
        return None
    return Policy(name, action, include, require, exclude)


def _foreign_keys(section: Section) -> None:
    """Sort out the keys that a pasted policy has and a policy here has not."""
    for key in sorted(key for key in _INFORMATIVE if key in section.raw):
        section.problems.warn((*section.path, key), f'"{key}" means nothing here and is ignored; remove it')
    for key, advice in _NOT_HERE.items():
        if key not in section.raw:
            continue
        if key != "precedence" and not section.raw[key]:
            section.problems.warn((*section.path, key), f'"{key}" asks for nothing and is ignored; remove it')
        else:
            section.error(key, f'"{key}" is not supported: {advice}')
    ours = {key: value for key, value in section.raw.items() if key not in _INFORMATIVE and key not in _NOT_HERE}
    Section(ours, section.path, section.problems).only(POLICY_KEYS, what="a policy")


def _decision(section: Section) -> Action | None:
    text = section.text("decision", example="allow")
    if text is None:
        return None
    if text in _DECISIONS:
        return _DECISIONS[text]
    if text == "non_identity":
        section.error("decision", "service authentication (non_identity) does not exist yet; people are let in with allow")
    else:
        section.error("decision", f"unknown decision {shown(text)}{nearest(text, _DECISIONS)} (decisions: allow, deny, bypass)")
    return None


def _bypass_is_blind(section: Section) -> None:
    """Refuse selectors that need to know who is there: a Bypass policy decides before anybody has signed in."""
    for role in ("include", "require", "exclude"):
        elements = section.raw.get(role)
        for index, element in enumerate(elements if isinstance(elements, list | tuple) else ()):
            for key in element if isinstance(element, Mapping) else ():
                if isinstance(key, str) and key in BY_KEY and BY_KEY[key].identity:
                    section.problems.error(
                        (*section.path, role, index, key),
                        f'a bypass policy cannot use "{key}": it decides before anybody signs in. '
                        "Use ip or everyone here, or make the policy an allow",
                    )


def _foot_guns(section: Section, action: Action | None, include: tuple[Condition, ...] | None) -> None:
    for index, condition in enumerate(include or ()):
        if condition.selector != "everyone":
            continue
        where = (*section.path, "include", index, "everyone")
        if action is Action.BYPASS:
            section.problems.warn(where, "this makes the app public: nobody signs in, nobody is isolated, nothing is checked")
        elif not section.raw.get("require"):
            section.problems.warn(
                where, "everyone in an allow lets in everybody who can sign in, guests among them; name a domain or a group"
            )


def _isolation_rule(raw: object, path: Path, problems: Problems) -> IsolationRule | None:
    section = Section.of(raw, path, problems, what="an isolation rule")
    if section is None:
        return None
    section.only(RULE_KEYS, what="an isolation rule")
    name = section.name()
    include, require, exclude = _blocks(section)
    mode = _choice(section, "mode", Mode, Mode.PIXELS)
    controls: Controls | None = Controls()
    if "controls" in section.raw:
        controls = _controls(section.raw["controls"], (*path, "controls"), problems)
    if name is None or include is None or require is None or exclude is None or mode is None or controls is None:
        return None
    return IsolationRule(name, include, require, exclude, mode, controls)


def _controls(raw: object, path: Path, problems: Problems) -> Controls | None:
    section = Section.of(raw, path, problems, what="controls")
    if section is None:
        return None
    section.only(CONTROL_KEYS, what="controls")
    before = len(problems.found)
    values: dict[str, Any] = {key: _CONTROLS[key](section, key) for key in CONTROL_KEYS if key in section.raw}
    if any(problem.severity == "error" for problem in problems.found[before:]):
        return None
    controls = Controls(**values)
    for key in values:
        of = key.partition("_")[0]
        if of != key and of in {"clipboard", "download", "upload"} and getattr(controls, of).value == "none":
            problems.warn((*path, key), f"{of} is none, so {key} says nothing; allow {of}, or remove {key}")
    return controls


def _whole_number(section: Section, key: str) -> int | None:
    least, most = BOUNDS[key]
    value = section.raw[key]
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    section.error(key, f'"{key}" must be a whole number from {least} to {most}, not {shown(value)}')
    return None


def _members(kind: type[E]) -> Callable[[Section, str], frozenset[E] | None]:
    names = [member.value for member in kind]
    example = f"[{', '.join(names[:2])}]"

    def read(section: Section, key: str) -> frozenset[E] | None:
        words = section.texts(key, example=example)
        if words is None:
            return None
        for index, word in enumerate(words):
            if word not in names:
                known = ", ".join(names)
                section.problems.error(
                    (*section.path, key, index), f"unknown kind {shown(word)}{nearest(word, names)} (kinds: {known})"
                )
        return frozenset(member for member in kind if member.value in words)

    return read


def _domains(section: Section, key: str) -> frozenset[str] | None:
    example = "[cdn.example, '*.maps.example']"
    # An empty list means something here: the configured apps, and nothing else.
    patterns = () if section.raw[key] == [] else section.texts(key, example=example)
    if patterns is None:
        return None
    if len(patterns) > MAX_DOMAINS:
        section.error(key, f'"{key}" has {len(patterns)} entries; at most {MAX_DOMAINS} are looked through for every connection')
    lower = [pattern.lower() for pattern in patterns]
    for index, pattern in enumerate(lower):
        if len(pattern) > 253 or not _PATTERN.fullmatch(pattern):
            section.problems.error(
                (*section.path, key, index),
                f"{shown(patterns[index])} is neither a host nor *.parent (no scheme, port or path, international names in "
                f"their xn-- form); write for example {key}: {example}",
            )
    return narrowest(lower)


def _notice(section: Section, key: str) -> frozenset[str]:
    text = section.text(key, example="Work here is recorded.")
    if text is not None and len(text) > MAX_NOTICE:
        section.error(key, f'"{key}" has {len(text)} characters; at most {MAX_NOTICE} fit above the page')
    return frozenset({text} if text is not None else ())


_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_PATTERN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})+")


def _choice(section: Section, key: str, kind: type[E], default: E) -> E | None:
    if key not in section.raw:
        return default
    value = section.raw[key]
    members = [member.value for member in kind]
    if isinstance(value, str) and value in members:
        return kind(value)
    if isinstance(value, bool):
        hint = f" (YAML reads on, off, yes and no as true and false); write {key}: {members[0]}"
    elif isinstance(value, str):
        hint = nearest(value, members)
    else:
        hint = ""
    only = f"only {members[0]} exists so far" if len(members) == 1 else f"one of {', '.join(members)}"
    section.error(key, f"unknown value {shown(value)} for {key}{hint} ({only})")
    return None


def _flag(section: Section, key: str) -> bool | None:
    value = section.raw[key]
    if isinstance(value, bool):
        return value
    section.error(key, f'"{key}" must be true or false, not {shown(value)}')
    return None


def _transfer(section: Section, key: str) -> Transfer | None:
    return _choice(section, key, Transfer, Transfer.NONE)


_CONTROLS: Mapping[str, Callable[[Section, str], object]] = {
    "clipboard": lambda section, key: _choice(section, key, Clipboard, Clipboard.NONE),
    "clipboard_types": _members(ClipboardKind),
    "download": _transfer,
    "download_types": _members(FileKind),
    "upload": _transfer,
    "upload_types": _members(FileKind),
    "print": _flag,
    "keyboard": _flag,
    "watermark": _flag,
    "domains": _domains,
    "notice": _notice,
} | dict.fromkeys(BOUNDS, _whole_number)


def _blocks(
    section: Section,
) -> tuple[tuple[Condition, ...] | None, tuple[Condition, ...] | None, tuple[Condition, ...] | None]:
    """Read include, require and exclude; None for what could not be read."""
    include = _block(section, "include")
    if "include" not in section.raw:
        section.problems.error(
            section.path, '"include" is missing; write for example include: [{email_domain: {domain: corp.example}}]'
        )
        include = None
    elif include == ():
        section.error(
            "include",
            "include is empty, so nobody could ever match; name at least one, for example {email_domain: {domain: corp.example}}",
        )
        include = None
    exclude = _block(section, "exclude")
    for index, condition in enumerate(exclude or ()):
        if condition.selector == "everyone":
            section.problems.warn((*section.path, "exclude", index, "everyone"), "excluding everyone: this can never match")
    return include, _block(section, "require"), exclude


def _block(section: Section, role: str) -> tuple[Condition, ...] | None:
    if role not in section.raw:
        return ()
    elements = section.raw[role]
    path = (*section.path, role)
    if not isinstance(elements, list | tuple):
        advice = (
            f"remove {role}:" if elements is None and role != "include" else f"write for example {role}: [{{everyone: {{}}}}]"
        )
        section.error(role, f'"{role}" must be a list of selectors, not {shown(elements)}; {advice}')
        return None
    if not elements and role != "include":
        # The Access API returns empty lists for what is not set, so a pasted policy has them.
        section.problems.warn(path, f"{role} is empty and asks for nothing; remove it")
    conditions = [_condition(element, (*path, index), section.problems) for index, element in enumerate(elements)]
    usable = tuple(condition for condition in conditions if condition is not None)
    return usable if len(usable) == len(conditions) else None


def _condition(raw: object, path: Path, problems: Problems) -> Condition | None:
    if isinstance(raw, str):
        example = f"{{{raw}: {_example(raw)}}}" if raw in BY_KEY else "{email_domain: {domain: corp.example}}"
        problems.error(path, f"a selector must be a mapping with one key, not {shown(raw)}; write {example}")
        return None
    section = Section.of(raw, path, problems, what="a selector")
    if section is None:
        return None
    if len(section.raw) != 1:
        what = f"{len(section.raw)} selectors ({', '.join(map(key_text, section.raw))})" if section.raw else "no selector"
        problems.error(path, f"one entry holds one selector; this one has {what}. Write a list entry for each")
        return None
    ((key, arguments),) = section.raw.items()
    if not isinstance(key, str) or key not in BY_KEY:
        _unknown_selector(key, path, problems)
        return None
    selector = BY_KEY[key]
    if not isinstance(arguments, Mapping):
        problems.error((*path, key), f"{key} must hold a mapping, not {shown(arguments)}; write {{{key}: {_example(key)}}}")
        return None
    inner = Section(arguments, (*path, key), problems)
    before = len(problems.found)
    inner.only(selector.argument_names, what=key)
    condition = selector.parse(inner)
    return None if any(problem.severity == "error" for problem in problems.found[before:]) else condition


def _unknown_selector(key: object, path: Path, problems: Problems) -> None:
    word = key_text(key)
    known = ", ".join(BY_KEY)
    if word in ELSEWHERE:
        problems.error(
            (*path, word), f'"{word}" is a selector of Cloudflare Access that does not exist here yet (selectors: {known})'
        )
    else:
        problems.error((*path, word), f'unknown selector "{word}"{nearest(word, BY_KEY)} (selectors: {known})')


def _example(key: str) -> str:
    """Return the example arguments of a selector in YAML's flow style."""

    def flow(value: object) -> str:
        if isinstance(value, Mapping):
            return "{" + ", ".join(f"{name}: {flow(item)}" for name, item in value.items()) + "}"
        if isinstance(value, list | tuple):
            return "[" + ", ".join(flow(item) for item in value) + "]"
        return str(value)

    return flow(BY_KEY[key].example)
