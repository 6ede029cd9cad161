// Package e2e tests the library against the real things: better-auth, npm's lucia with
// PostgreSQL and SQLite, Ory Kratos, oauth2-proxy, nginx, Caddy, Traefik, and Chromium. It has
// nothing but tests, for Unix.
//
//	go -C e2e test ./...
//
// A part that is not installed skips the tests that need it, and says so; with CI set in
// the environment it fails them. The packages of Node, and Traefik, are installed by the tests. Kratos and
// oauth2-proxy are built from their modules, into .cache at the root of the repository: that
// takes a minute or two each, once.
package e2e
