"""The requests we make of Microsoft Graph, through msgraph-sdk. The only module that imports the SDK.

The SDK builds URLs, authenticates and sends; its answers are taken as bytes (the SDK's own ``ResponseHandlerOption``) and not as its models.
Its models read an enumeration member they do not know as None, which nobody can tell from "absent", and they cost 4 to 5 ms of blocked event
loop per object: 2 s for a page of 500. Its redirect and retry handlers are left out: a redirect away from Graph is never followed, and waiting is
the business of :mod:`isolation.signals.sync`, which knows how often Graph may be asked.
"""

from __future__ import annotations

from typing import Any

import httpx
from kiota_abstractions.authentication import AccessTokenProvider, AllowedHostsValidator, BaseBearerTokenAuthenticationProvider
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_abstractions.headers_collection import HeadersCollection
from kiota_abstractions.native_response_handler import NativeResponseHandler
from kiota_abstractions.request_option import RequestOption
from kiota_http.kiota_client_factory import KiotaClientFactory
from kiota_http.middleware import ParametersNameDecodingHandler
from kiota_http.middleware.options import ResponseHandlerOption
from msgraph.generated.identity_protection.risky_users.risky_users_request_builder import RiskyUsersRequestBuilder
from msgraph.generated.users.item.transitive_member_of.transitive_member_of_request_builder import (
    TransitiveMemberOfRequestBuilder,
)
from msgraph.generated.users.item.user_item_request_builder import UserItemRequestBuilder
from msgraph.graph_request_adapter import GraphRequestAdapter
from msgraph.graph_service_client import GraphServiceClient
from typing_extensions import override

from isolation.errors import ProviderError
from isolation.signals.providers.token import ClientCredentials
from isolation.signals.providers.transport import new_http_client

# ---- limits
RISK_PAGE = 500  # the largest page of riskyUsers that Graph serves
GROUP_PAGE = 999  # the largest page of directory objects

RISK_FIELDS = ["id", "riskLevel", "riskState", "riskDetail", "riskLastUpdatedDateTime", "userDisplayName", "userPrincipalName"]
USER_FIELDS = [
    *("id", "displayName", "mail", "userPrincipalName", "userType", "accountEnabled", "employeeType"),
    "signInSessionsValidFromDateTime",
]


class _GraphTokens(AccessTokenProvider):
    """Hands tokens to the SDK, for one host only: the SDK's own default is every host."""

    def __init__(self, tokens: ClientCredentials, host: str) -> None:
        self._tokens = tokens
        self._hosts = AllowedHostsValidator([host])  # a bare name: with a port the validator matches nothing

    @override
    async def get_authorization_token(self, uri: str, additional_authentication_context: dict[str, Any] | None = None) -> str:
        if not self._hosts.is_url_host_valid(uri):
            raise ProviderError("a request to another host than Graph was about to carry our token", code="malformed")
        return await self._tokens.get()

    @override
    def get_allowed_hosts_validator(self) -> AllowedHostsValidator:
        return self._hosts


class GraphClient:
    """One Graph. ``origin``: e.g. ``https://graph.microsoft.com``. Answers are complete responses of any status.

    Raises :class:`ProviderError` and :class:`httpx.HTTPError`. ``link`` is an ``@odata.nextLink`` that the caller has checked.
    """

    def __init__(self, origin: str, tokens: ClientCredentials, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._http = KiotaClientFactory.create_with_custom_middleware(
            [ParametersNameDecodingHandler()], new_http_client(transport)
        )
        adapter = GraphRequestAdapter(
            BaseBearerTokenAuthenticationProvider(_GraphTokens(tokens, httpx.URL(origin).host)), client=self._http
        )
        adapter.base_url = f"{origin}/v1.0"  # before the client is made: it would set the global cloud otherwise
        self._graph = GraphServiceClient(request_adapter=adapter)

    async def risky_users(self, link: str | None = None) -> httpx.Response:
        """Ask for a page of risky users, every state included: a filter could hide a state that is newer than we are."""
        builder = self._graph.identity_protection.risky_users
        query = RiskyUsersRequestBuilder.RiskyUsersRequestBuilderGetQueryParameters(top=RISK_PAGE, select=RISK_FIELDS)
        return await self._get(builder, query, link, prefer="include-unknown-enum-members")

    async def member_of(self, oid: str, link: str | None = None) -> httpx.Response:
        """Ask for a page of what a person is a member of, at any depth.

        Without the cast to groups: that is an advanced query, answered from an index that may lag behind the directory.
        """
        builder = self._graph.users.by_user_id(oid).transitive_member_of
        query = TransitiveMemberOfRequestBuilder.TransitiveMemberOfRequestBuilderGetQueryParameters(top=GROUP_PAGE, select=["id"])
        return await self._get(builder, query, link)

    async def user(self, oid: str) -> httpx.Response:
        """Ask for a person's profile."""
        query = UserItemRequestBuilder.UserItemRequestBuilderGetQueryParameters(select=USER_FIELDS)
        return await self._get(self._graph.users.by_user_id(oid), query, None)

    async def aclose(self) -> None:
        """Close connections."""
        await self._http.aclose()

    @staticmethod
    async def _get(builder: Any, query: Any, link: str | None, prefer: str = "") -> httpx.Response:
        headers = HeadersCollection()
        if prefer:
            headers.add("Prefer", prefer)
        options: list[RequestOption] = [ResponseHandlerOption(NativeResponseHandler())]
        configuration: RequestConfiguration[Any] = RequestConfiguration(
            headers=headers, options=options, query_parameters=query if link is None else None
        )
        answer = await (builder if link is None else builder.with_url(link)).get(configuration)
        if not isinstance(answer, httpx.Response):
            raise ProviderError("msgraph-sdk did not hand over the answer", code="malformed")
        return answer
