"""The decision: one pure function from an app and the facts to what happens with the request.

Read :func:`decide` from top to bottom: each rung says who leaves the ladder there. Whoever leaves nowhere is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from isolation.policy.evaluate import RISK, Effect, Verdict, evaluate
from isolation.policy.explain import truth_words
from isolation.policy.facts import Facts
from isolation.policy.isolation import Isolation, applies, isolation
from isolation.policy.matching import Kind, Line, Outcome, Role
from isolation.policy.model import OnUnknown, Truth
from isolation.routing.model import App, Because, Decision, Forward, Isolate, RefusalReason, Refuse, SignIn, Step


def decide(app: App, facts: Facts) -> Decision:
    """Decide about a request for ``app``. Total, deterministic; every answer carries why, and until when it may be kept.

    A decision may be kept per session and app until ``valid_until`` or an event about the person, the device or the policy; where
    :func:`isolation.policy.evaluate.consults_address` says so, per address as well.
    """
    verdict = evaluate(app.policy, facts)

    # A Bypass policy: pass, whoever it is, and tell the app nothing about them.
    if verdict.effect is Effect.BYPASS:
        return Forward(_because(verdict), verdict.until, anonymous=True)

    # Everything below is about a person. Nobody there: sign in first, also where a Block would match anybody.
    if verdict.effect is Effect.SIGN_IN or facts.person is None:
        return SignIn(_because(verdict), verdict.until)

    # A Block policy matched.
    if verdict.effect is Effect.BLOCK:
        return Refuse(RefusalReason.BLOCKED, _because(verdict), verdict.until)

    # A Block that could match, or the only Allow that could, cannot be checked: not now, but perhaps in a moment.
    if verdict.effect is Effect.UNCHECKED:
        return Refuse(RefusalReason.SIGNAL_UNAVAILABLE, _because(verdict), verdict.until, retry=True)

    # A policy lets the person in. What remains is how.
    if verdict.effect is Effect.ALLOW:
        isolated = isolation(app.policy, facts, verdict)
        because = _because(verdict, isolated)
        until = min(verdict.until, isolated.until)

        # Let in for want of a signal, on an old one, or with an unknown risk: the policy set may insist on knowing.
        if isolated.degraded and app.policy.on_unknown is OnUnknown.REFUSE:
            reason = RefusalReason.RISK_UNKNOWN if RISK in isolated.degraded else RefusalReason.SIGNAL_UNAVAILABLE
            return Refuse(reason, because, until, retry=True)

        # Otherwise such a permission isolates, and so does any isolation rule that cannot be ruled out. The strictest of each
        # control is in force.
        if isolated.required:
            return Isolate(isolated.mode, isolated.controls, because, until)

        # Let in by a firm Allow, risk known, no isolation rule in doubt: straight through.
        return Forward(because, until)

    # Nothing let this person in: deny by default. Where that rests on old values it may pass by itself.
    return Refuse(RefusalReason.NOT_ALLOWED, _because(verdict), verdict.until, retry=verdict.retry)


def _because(verdict: Verdict, isolated: Isolation | None = None) -> Because:
    rules = isolated.applied if isolated else ()
    degraded = isolated.degraded if isolated else verdict.degraded
    refused = verdict.effect is Effect.NONE
    steps: list[Step] = []
    for outcome in verdict.outcomes:
        # Where nothing let them in, every Allow says what was missing.
        steps += _steps(outcome, detailed=outcome.name == verdict.policy or (refused and outcome.kind is Kind.ALLOW))
    if isolated:
        for outcome in isolated.outcomes:
            steps += _steps(outcome, detailed=applies(outcome))
    steps.append(Step("decision", _summary(verdict, isolated)))
    return Because(verdict.policy, rules, tuple(steps), tuple(sorted({*degraded, *verdict.missing})))


def _steps(outcome: Outcome, *, detailed: bool) -> Iterator[Step]:
    """Yield one line for the rule, and, in detail or where it is in doubt, one for each condition that explains its result."""
    rung = "isolation" if outcome.kind is Kind.ISOLATION else "policy"
    what = "rule" if outcome.kind is Kind.ISOLATION else outcome.kind.value
    yield Step(rung, f'{what} "{outcome.name}": {truth_words(outcome)}')
    if not detailed and not outcome.rests_on:
        return
    for line in outcome.lines:
        if _telling(line, outcome.truth):
            old = ", old" if line.match.stale else ""
            text = f"{line.role.value}: {line.condition.describe()} ({_SAID[line.match.truth]}{old})"
            yield Step(rung, text, line.match.value, line.match.age)


_SAID = {Truth.TRUE: "yes", Truth.FALSE: "no", Truth.UNKNOWN: "unknown"}


def _telling(line: Line, result: Truth) -> bool:
    """Say whether a condition speaks for the rule's result, or is in doubt."""
    match = line.match
    if match.truth is Truth.UNKNOWN or match.stale:
        return True
    speaks_for = match.truth is (Truth.FALSE if line.role is Role.EXCLUDE else Truth.TRUE)
    if result is Truth.FALSE:
        return not speaks_for
    return speaks_for and line.role is not Role.EXCLUDE


def _summary(verdict: Verdict, isolated: Isolation | None) -> str:
    named = f' by "{verdict.policy}"' if verdict.policy else ""
    if verdict.effect is Effect.BYPASS:
        return f"passes without signing in{named}"
    if verdict.effect is Effect.SIGN_IN:
        return "nobody is signed in"
    if verdict.effect is Effect.BLOCK:
        return f"refused{named}"
    if verdict.effect is Effect.UNCHECKED:
        return f"refused{named}: {', '.join(verdict.missing)} cannot be checked"
    if verdict.effect is Effect.NONE or isolated is None:
        return "refused: no policy lets them in" + (f"; {', '.join(verdict.missing)} is old" if verdict.missing else "")
    if not isolated.required:
        return f"passes{named}; no isolation rule applies"
    reasons = [f'"{name}"' for name in isolated.applied]
    if isolated.degraded:
        reasons.append(f"the state of {', '.join(isolated.degraded)}")
    return f"let in{named}; not straight through because of {' and '.join(reasons)}"
