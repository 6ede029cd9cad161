package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What a user does on the page is tested in e2e.

func TestMissingNodeIsSaidPlainly(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := run(context.Background(), io.Discard, "127.0.0.1:0")
	if err == nil || !strings.Contains(err.Error(), "node is missing") || !strings.Contains(err.Error(), installNode) {
		t.Errorf("without node: %v", err)
	}
}

func TestOldNodeIsSaidPlainly(t *testing.T) {
	dir := t.TempDir()
	node := filepath.Join(dir, "node")
	if err := os.WriteFile(node, []byte("#!/bin/sh\necho v18.19.0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	err := run(context.Background(), io.Discard, "127.0.0.1:0")
	if err == nil || !strings.Contains(err.Error(), "v18.19.0") || !strings.Contains(err.Error(), installNode) {
		t.Errorf("with Node 18: %v", err)
	}
}

func TestAnOwnerThatDiesIsStoppedAllTheSame(t *testing.T) {
	t.Parallel()
	if _, err := findNode(t.Context()); err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	o, err := startOwner(t.Context(), io.Discard, "node", []string{"http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.kill(); err != nil {
		t.Error(err)
	}
	<-o.ended
	start := time.Now()
	if err := o.stop(); err == nil || time.Since(start) > stopTimeout/2 {
		t.Errorf("stopped after %v: %v", time.Since(start), err)
	}
}

func TestOnlyLoopbackIsServed(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "127.0.0.1"} {
		if err := run(t.Context(), io.Discard, addr); err == nil {
			t.Errorf("%s is served", addr)
		}
	}
}
