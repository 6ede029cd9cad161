package main

import (
	"context"
	"embed"
	"encoding/json"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"sync"
)

//go:embed web
var web embed.FS

// cookie holds the token of who uses the page, which its scripts cannot read.
const cookie = "session"

// page is what a browser is served: the page itself, and what its buttons do.
type page struct{ fleet *fleet }

// state is how all is.
type state struct {
	Name     string         `json:"name"`  // of who is signed in
	Asked    int            `json:"asked"` // how often the owner was asked about their session
	Replicas []replicaState `json:"replicas"`
}

type replicaState struct {
	health

	Name string `json:"name"`
	Cut  bool   `json:"cut"`
}

// newPage returns the handler of the page at a loopback address.
func newPage(f *fleet, addr net.Addr) (http.Handler, error) {
	files, err := fs.Sub(web, "web")
	if err != nil {
		return nil, err
	}
	p := &page{f}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /api/state", p.state)
	mux.HandleFunc("POST /api/sign-in", p.signIn)
	mux.HandleFunc("POST /api/call", p.call)
	mux.HandleFunc("GET /api/watch", p.watch)
	mux.HandleFunc("POST /api/sign-out", p.signOut)
	mux.HandleFunc("POST /api/cut", p.cut)
	return guard(mux, addr), nil
}

// guard serves the pages of this address alone: another site may have its name lead here.
func guard(next http.Handler, addr net.Addr) http.Handler {
	host, port, _ := net.SplitHostPort(addr.String())
	names := map[string]bool{net.JoinHostPort(host, port): true, net.JoinHostPort("localhost", port): true}
	next = http.NewCrossOriginProtection().Handler(http.MaxBytesHandler(next, 1<<10))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "+
			"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cache-Control", "no-cache")
		if !names[r.Host] {
			http.Error(w, "this page has another address", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		http.Error(w, "cannot say", http.StatusInternalServerError)
	}
}

func token(r *http.Request) string {
	c, err := r.Cookie(cookie)
	if err != nil {
		return "none" // a credential that nobody has
	}
	return c.Value
}

// which reads the replica that a request is about.
func (p *page) which(w http.ResponseWriter, r *http.Request) (int, bool) {
	n, err := strconv.Atoi(r.URL.Query().Get("replica"))
	if err != nil || n < 0 || n >= len(p.fleet.all) {
		http.Error(w, "no such replica", http.StatusBadRequest)
		return 0, false
	}
	return n, true
}

func (p *page) state(w http.ResponseWriter, r *http.Request) {
	var st state
	if s, asked, ok := p.fleet.owner.find(token(r)); ok {
		st.Name, st.Asked = s.Name, asked
	}
	for _, replica := range p.fleet.all {
		st.Replicas = append(st.Replicas, replicaState{replica.state(), replica.name, replica.proxy.isCut()})
	}
	reply(w, st)
}

// signIn begins a session, whoever asks: this is about what comes after.
func (p *page) signIn(w http.ResponseWriter, _ *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: cookie, Value: p.fleet.owner.signIn("Ada"), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	reply(w, struct{}{})
}

// call calls one replica, or all at once.
func (p *page) call(w http.ResponseWriter, r *http.Request) {
	on := p.fleet.everywhere()
	if r.URL.Query().Has("replica") {
		n, ok := p.which(w, r)
		if !ok {
			return
		}
		on = []int{n}
	}
	reply(w, p.fleet.call(r.Context(), token(r), on...))
}

// watch passes on what the streams say, a line of JSON each.
func (p *page) watch(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	var mu sync.Mutex
	p.fleet.watch(r.Context(), token(r), func(t tick) {
		mu.Lock()
		defer mu.Unlock()
		_ = json.NewEncoder(w).Encode(t)
		_ = http.NewResponseController(w).Flush()
	})
}

func (p *page) signOut(w http.ResponseWriter, r *http.Request) {
	if n, ok := p.which(w, r); ok {
		reply(w, p.fleet.signOut(context.WithoutCancel(r.Context()), token(r), n)) // to its end if the browser leaves
	}
}

// cut cuts a replica off from Redis, or mends that.
func (p *page) cut(w http.ResponseWriter, r *http.Request) {
	n, ok := p.which(w, r)
	if !ok {
		return
	}
	cut, err := strconv.ParseBool(r.URL.Query().Get("cut"))
	if err != nil {
		http.Error(w, "cut is true or false", http.StatusBadRequest)
		return
	}
	p.fleet.all[n].proxy.set(cut)
	reply(w, struct{}{})
}
