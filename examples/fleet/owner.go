package main

import (
	"crypto/rand"
	"encoding/json"
	"net"
	"net/http"
	"sync"
	"time"

	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

const (
	sessionLife = time.Hour
	maxSessions = 1000 // the oldest ends when there are more
)

// session is what the owner answers about a token.
type session struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Expires time.Time `json:"expires"`
}

// owner is the owner of the sessions: GET /session answers about the token that is presented, DELETE
// ends its session.
type owner struct {
	url    string
	server *http.Server
	served chan error

	mu       sync.Mutex
	sessions map[string]session // by token
	order    []string
	verified map[string]int // how often it was asked about each
}

func startOwner() (*owner, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := &owner{url: "http://" + listener.Addr().String() + "/session", served: make(chan error, 1), sessions: map[string]session{}, verified: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /session", o.get)
	mux.HandleFunc("DELETE /session", o.end)
	o.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { o.served <- o.server.Serve(listener) }()
	return o, nil
}

// signIn begins a session and returns its token.
func (o *owner) signIn(name string) string {
	token := rand.Text() + rand.Text()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sessions[token] = session{ID: rand.Text(), Name: name, Expires: time.Now().Add(sessionLife)}
	if o.order = append(o.order, token); len(o.order) > maxSessions {
		delete(o.sessions, o.order[0])
		delete(o.verified, o.order[0])
		o.order = o.order[1:]
	}
	return token
}

// find returns the session of a token, and how often replicas have asked about it.
func (o *owner) find(token string) (s session, verified int, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s, ok = o.sessions[token]
	return s, o.verified[token], ok && time.Now().Before(s.Expires)
}

func (o *owner) get(w http.ResponseWriter, r *http.Request) {
	token, _ := authmd.Bearer().Extract(r.Header)
	s, _, ok := o.find(token)
	if !ok {
		http.Error(w, "no such session", http.StatusUnauthorized)
		return
	}
	o.mu.Lock()
	o.verified[token]++
	o.mu.Unlock()
	if err := json.NewEncoder(w).Encode(s); err != nil {
		http.Error(w, "cannot say", http.StatusInternalServerError)
	}
}

func (o *owner) end(_ http.ResponseWriter, r *http.Request) {
	token, _ := authmd.Bearer().Extract(r.Header)
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.sessions, token)
}

func (o *owner) stop() {
	_ = o.server.Close()
	<-o.served
}
