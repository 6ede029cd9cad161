package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // which only Linux has
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return fmt.Sprintf("%s, %d cores", strings.TrimSpace(value), runtime.NumCPU())
		}
	}
	return fmt.Sprintf("%d cores", runtime.NumCPU())
}

func platform() string {
	text := fmt.Sprintf("%s/%s, %s", runtime.GOOS, runtime.GOARCH, runtime.Version())
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		text = fmt.Sprintf("%s/%s %s, %s", runtime.GOOS, runtime.GOARCH, strings.TrimSpace(string(release)), runtime.Version())
	}
	return text
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if fields := strings.Fields(string(text)); err == nil && len(fields) >= 3 {
		return strings.Join(fields[:3], ", ")
	}
	return "unknown"
}

type module struct{ name, version string }

// modules are those that take part in the comparison, in the versions that ran.
func modules() []module {
	shown := []string{
		"github.com/grpc-ecosystem/go-grpc-middleware/v2", "github.com/jellydator/ttlcache/v3", "github.com/maypok86/otter/v2",
		"go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/otel/sdk/metric", "google.golang.org/grpc", "k8s.io/apiserver",
	}
	var found []module
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range build.Deps {
			if slices.Contains(shown, dep.Path) {
				found = append(found, module{dep.Path, dep.Version})
			}
		}
	}
	return found
}
