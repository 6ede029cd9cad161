// Package lucia verifies sessions that are kept in a database the way Lucia does, or
// the way its guide says since it is no library any more. [New] returns a [Verifier],
// whose methods are the callbacks of interceptor.NewSessionAuth:
//
//	v, err := lucia.New(db, lucia.Inactivity, lucia.PostgreSQL)
//	...
//	auth, err := interceptor.NewSessionAuth(v.Verify, v.Map,
//		interceptor.WithExtractors(v.Extractors()...), interceptor.WithKeyHeaders())
//
// There have been several schemes, and a token does not tell of which it is: the caller
// names the [Scheme]. A database with more than one needs a Verifier for each.
//
// # Security
//
// Hashes of secrets are compared in constant time. A token of the wrong form is refused
// without a query. With [V3] the token is the primary key itself, as in that version of
// Lucia: whoever can read the table can sign in as anybody.
//
// Nothing is ever deleted: a session that has expired is refused and left for the
// application to clear away. With [WithTouch] a session that is in use is extended, by an
// update that changes nothing if the row was changed or deleted meanwhile.
//
// # Errors
//
// No row, another secret, an expiry that has passed and a malformed token are
// interceptor.ErrInvalidSession. Whatever else the database says is
// interceptor.ErrUnavailable, with the type of its error and its SQLSTATE, if it has one,
// and without its text, which may quote the token. A row with a NULL, or with a column of
// another type, is ErrUnavailable, too. When ctx has ended the error wraps its error as
// well.
package lucia
