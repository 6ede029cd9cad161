package httpauth

import (
	"io"
	"net/http"
)

// trailing is a body with a trailer, which the server puts into the request when the body has been
// read: what handlers must not see is then taken out again.
type trailing struct {
	io.ReadCloser

	authn   Authn
	trailer http.Header // that of all copies of the request
}

// hideTrailer has r, whose handler has not begun, come without what handlers must not see in its trailer.
func (d *door) hideTrailer(r *http.Request) {
	if len(r.Trailer) == 0 {
		return
	}
	t := trailing{r.Body, d.authn, r.Trailer}
	t.hide()
	r.Body = t
}

// Read implements [io.Reader].
func (t trailing) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err != nil {
		t.hide()
	}
	return n, err
}

// Close implements [io.Closer]. The server reads what is left of the body.
func (t trailing) Close() error {
	defer t.hide()
	return t.ReadCloser.Close()
}

func (t trailing) hide() {
	seen := t.authn.HandlerHeader(t.trailer)
	if len(seen) == len(t.trailer) {
		return
	}
	for name := range t.trailer {
		if _, ok := seen[name]; !ok {
			delete(t.trailer, name)
		}
	}
}
