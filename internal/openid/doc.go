// Package openid finds out by an OpenID Connect provider who somebody is, and whether they may sign in: the authorization
// code flow with PKCE, state and nonce (https://openid.net/specs/openid-connect-core-1_0.html#CodeFlowAuth).
//
// Nothing is asked of the provider until somebody wants to sign in: one that is away holds up nobody else. What it says is
// believed only in an ID token that it signed, for this client, for this attempt and for now, or when it is asked about
// whom that names. Errors hold neither secrets nor who it was.
package openid
