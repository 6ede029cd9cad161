package httpauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/doors/httpauth"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// stricter is an Authenticator that refuses more than its own.
type stricter struct{ *interceptor.Authenticator }

func (s stricter) Authenticate(ctx context.Context, header http.Header) (interceptor.Authentication, error) {
	found, err := s.Authenticator.Authenticate(ctx, header)
	if err == nil && found.AuthContext().Subject != "ada" {
		err = status.Error(codes.PermissionDenied, "only Ada")
	}
	return found, err
}

// TestWhatEmbedsAnAuthenticatorDecidesItself: it is asked, and not what it embeds.
func TestWhatEmbedsAnAuthenticatorDecidesItself(t *testing.T) {
	var o authtest.Owner
	server := httptest.NewServer(protect(t, stricter{newAuth(t, &o)}, who))
	defer server.Close()
	for subject, want := range map[string]int{"ada": http.StatusOK, "bob": http.StatusForbidden} {
		get(t, server, "/", bearer(o.SignIn(authcontext.AuthContext{Subject: subject}))...).mustBe(t, want, "")
	}
}

// outside is an Authenticator in the hands of another, who has nobody authenticated on some paths and
// hides more from handlers.
type outside struct{ inner *interceptor.Authenticator }

func (o outside) Authenticate(ctx context.Context, header http.Header) (interceptor.Authentication, error) {
	if header.Get("Cookie") == "" {
		return interceptor.Authentication{ResponseHeader: http.Header{"Set-Cookie": {"guest=1"}}}, nil
	}
	header = header.Clone()
	header.Del("X-Auth-Subject")
	return o.inner.Authenticate(ctx, header)
}

func (o outside) HandlerHeader(header http.Header) http.Header {
	header = o.inner.HandlerHeader(header).Clone()
	header.Del("X-Internal")
	return header
}

func (o outside) Skips(fullMethod string) bool { return o.inner.Skips(fullMethod) }

// TestAnotherAuthnHidesWhatItHides, whatever header it has an Authenticator look at, and keeps its
// cookies for their callers.
func TestAnotherAuthnHidesWhatItHides(t *testing.T) {
	var o authtest.Owner
	server := httptest.NewServer(protect(t, outside{newAuth(t, &o, interceptor.WithAllowedOrigins("https://app.test"))}, who))
	defer server.Close()
	cookie := "sid=" + o.SignIn(authcontext.AuthContext{Subject: "ada"})
	for subject, header := range map[string][]string{"ada": append(navigation, "Cookie", cookie), "nobody": nil} { // who follows a link
		a := get(t, server, "/", append(header, "X-Auth-Subject", "eve", "X-Internal", "1", "X-Other", "kept")...)
		s := a.seen(t)
		if s.Subject != subject || s.Header["X-Auth-Subject"] != nil || s.Header["X-Internal"] != nil || s.Header["X-Other"] == nil {
			t.Errorf("%s: %+v", subject, s)
		}
		if shared := a.Header.Get("Cache-Control") != "private"; a.Header["Set-Cookie"] != nil && shared {
			t.Errorf("%s: a shared cache may store the cookie: %v", subject, a.Header)
		}
	}
}

// TestWhatAFormLeavesOnDiskIsRemoved when it has been answered, as without the door.
func TestWhatAFormLeavesOnDiskIsRemoved(t *testing.T) {
	var o authtest.Owner
	auth := newAuth(t, &o)
	overEach(t, func(t *testing.T, serve func(http.Handler) *httptest.Server) {
		for path, panics := range map[string]bool{"/": false, "/skipped": false, "/panics": true} {
			if panics && strings.HasSuffix(t.Name(), "1.1") {
				continue // where the server itself does not
			}
			files := make(chan string, 1)
			handler := protect(t, auth, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				err := r.ParseMultipartForm(0)
				if err != nil {
					t.Error(err)
					files <- ""
					return
				}
				file, err := r.MultipartForm.File["f"][0].Open()
				if err != nil {
					t.Error(err)
					files <- ""
					return
				}
				files <- file.(*os.File).Name()
				_ = file.Close()
				if panics {
					panic(http.ErrAbortHandler)
				}
			}), httpauth.WithSkipPatterns("/skipped"))
			served := make(chan struct{})
			server := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(served)
				handler.ServeHTTP(w, r)
			}))
			body := "--x\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n" + strings.Repeat("x", 11<<20) + "\r\n--x--\r\n"
			r := newRequest(t, http.MethodPost, server.URL+path, strings.NewReader(body),
				append(bearer(o.SignIn(authcontext.AuthContext{Subject: "ada"})), "Content-Type", "multipart/form-data; boundary=x", "X-Auth-Subject", "eve")...)
			if response, err := server.Client().Do(r); err == nil {
				_ = response.Body.Close()
			}
			name := receive(t, files)
			receive(t, served)
			server.Close() // when all is answered
			if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %q is still there: %v", path, name, err)
				_ = os.Remove(name)
			}
		}
	})
}

// TestWhatAHandlerKeepsStaysItsOwn: later requests do not change the request and the identity of one
// that is over, which somebody may still read.
func TestWhatAHandlerKeepsStaysItsOwn(t *testing.T) {
	var o authtest.Owner
	var kept []*http.Request
	handler := protect(t, newAuth(t, &o), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { kept = append(kept, r) }))
	var tokens [64]string
	for i := range 2 * len(tokens) { // each is verified, and then known from memory
		subject, token := fmt.Sprint(i%len(tokens)), &tokens[i%len(tokens)]
		if *token == "" {
			*token = o.SignIn(authcontext.AuthContext{Subject: subject})
		}
		handler.ServeHTTP(httptest.NewRecorder(), newRequest(t, http.MethodGet, "http://api.test/"+subject, nil, bearer(*token)...))
	}
	for i, r := range kept {
		subject := fmt.Sprint(i % len(tokens))
		ac, ok := authcontext.FromContext(r.Context())
		if !ok || ac.Subject != subject || r.URL.Path != "/"+subject {
			t.Errorf("%s has become %v's %s", subject, ac, r.URL)
		}
		<-r.Context().Done()
		if !errors.Is(r.Context().Err(), context.Canceled) {
			t.Error(r.Context().Err())
		}
	}
}
