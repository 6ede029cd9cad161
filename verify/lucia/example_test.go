package lucia_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/verify/lucia"
)

// nowhere is a database that cannot be reached.
type nowhere struct{}

func (nowhere) Connect(context.Context) (driver.Conn, error) { return nil, errors.New("nowhere") }
func (nowhere) Driver() driver.Driver                        { return nil }

func Example() {
	db := sql.OpenDB(nowhere{}) // yours, of sql.Open
	defer func() { _ = db.Close() }()

	v, err := lucia.New(db, lucia.Inactivity, lucia.PostgreSQL, lucia.WithTouch())
	if err != nil {
		log.Fatal(err)
	}
	auth, err := interceptor.NewSessionAuth(v.Verify, v.Map,
		interceptor.WithExtractors(v.Extractors()...), interceptor.WithKeyHeaders(),
		interceptor.WithCache(cache.Policy{TTL: time.Minute}))
	if err != nil {
		log.Fatal(err)
	}

	// A token of the wrong form is refused without a query.
	header := http.Header{"Cookie": {"session_token=made-up"}}
	_, err = auth.Authenticate(context.Background(), header)
	fmt.Println(status.Convert(err).Message())
	// Output: invalid session
}
