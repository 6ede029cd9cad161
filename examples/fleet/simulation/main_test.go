package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// lazyRefresh is what a client of rueidis may leave for up to a second when it is closed.
var lazyRefresh = goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, lazyRefresh) }

func TestASmallFleet(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	l := load{followers: 5, rate: 20, lag: 10 * time.Second, duration: time.Second}
	r, err := l.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r)
	if r.lost != 0 || r.forgets == 0 || r.connections < l.followers || r.bytes < 50 || r.kept < 50 || r.redisCPU <= 0 || r.replies == 0 {
		t.Errorf("%+v", r)
	}
	if heard := len(r.delays); heard == 0 || heard%l.followers != 0 {
		t.Errorf("%d deliveries to %d followers", heard, l.followers)
	}
}

func TestWhatALargerFleetTakes(t *testing.T) {
	of := func(replies, deliveries float64) result { // of 10 µs for a reply, and 1 µs for an entry
		return result{replies: replies, deliveries: deliveries, redisCPU: 10e-6*replies + 1e-6*deliveries, bytes: 100, kept: 80}
	}
	for name, row := range map[string]struct {
		last result
		want []string
	}{
		"two runs": {of(2000, 100_000), []string{"takes 10.0 µs for a reply and 1.00 µs", "300 1s 1300 39 % 4.9 ms", "1000 1s 4100 410 % never ends"}},
		"one run":  {of(1000, 1000), []string{"too much alike"}},
	} {
		var out bytes.Buffer
		if err := extrapolate(&out, of(1000, 1000), row.last); err != nil {
			t.Fatal(err)
		}
		for _, want := range row.want {
			if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
				t.Errorf("%s: no %q in\n%s", name, want, out.String())
			}
		}
	}
}

func TestANumberThatIsNoneIsSaid(t *testing.T) {
	for _, text := range []string{"0", "-1", "x", ""} {
		var out bytes.Buffer
		if err := simulate(t.Context(), &out, []string{text}, load{}); err == nil || !strings.Contains(err.Error(), "is not a number of followers") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
