package main

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDemo(t *testing.T) {
	var out bytes.Buffer
	if err := runDemo(t.Context(), &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{
		"hello, ada", "MISSING_CREDENTIALS", "INVALID_SESSION", "SESSION_EXPIRED", "ACCESS_DENIED", "✗ the open stream: Unauthenticated",
		"verify session (",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demonstration does not show %q:\n%s", want, out.String())
		}
	}
	if token := regexp.MustCompile(`[A-Z2-7]{26}`).FindString(out.String()); token != "" {
		t.Errorf("a token was printed: %s", token)
	}
}

func TestServeAndCall(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reader, writer := io.Pipe()
	served := make(chan error, 1)
	go func() {
		err := runServer(ctx, writer, "127.0.0.1:0")
		_ = writer.Close()
		served <- err
	}()
	text := make([]byte, 0, 2048)
	for !bytes.Contains(text, []byte("Ctrl-C")) {
		part := make([]byte, 512)
		n, err := reader.Read(part)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, part[:n]...)
	}
	match := regexp.MustCompile(`-addr (\S+) -token (\S+)`).FindSubmatch(text)
	if match == nil {
		t.Fatalf("it does not say how to call it:\n%s", text)
	}
	var out bytes.Buffer
	if err := runCall(ctx, &out, string(match[1]), string(match[2])); err != nil || out.String() != "hello, ada\n" {
		t.Errorf("call: %q, %v", out.String(), err)
	}
	if err := runCall(ctx, &out, string(match[1]), ""); err == nil || !strings.Contains(err.Error(), "missing credentials") {
		t.Errorf("call without a token: %v", err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}
