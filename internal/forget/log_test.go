package forget_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/internal/forget"
)

// tag returns the digest of a number.
func tag(n int) forget.Tag {
	digest := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(n)))
	return forget.Tag(digest[:16])
}

func TestOnlyWhatIsMarkedIsForgotten(t *testing.T) {
	l := forget.New(time.Hour, 1000)
	if l.Clock() != 0 || l.Since(0, tag(1)) || l.Latest(tag(1)) != 0 {
		t.Error("a new log has marks")
	}
	l.Mark(tag(1))
	l.Mark(tag(2))
	began := l.Clock()
	for name, test := range map[string]struct {
		began uint64
		tags  []forget.Tag
		want  bool
	}{
		"before its mark":               {0, []forget.Tag{tag(1)}, true},
		"before the mark of one of two": {0, []forget.Tag{tag(3), tag(2)}, true},
		"between two marks, the first":  {1, []forget.Tag{tag(1)}, false},
		"between two marks, the second": {1, []forget.Tag{tag(2)}, true},
		"after its mark":                {began, []forget.Tag{tag(1), tag(2)}, false},
		"a stranger":                    {0, []forget.Tag{tag(3)}, false},
		"nothing to be forgotten by":    {0, nil, false},
	} {
		if got := l.Since(test.began, test.tags...); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if first, second := l.Latest(tag(1), tag(3)), l.Latest(tag(1), tag(2)); first != 1 || second != 2 {
		t.Errorf("marked last at %d and %d, want 1 and 2", first, second)
	}
	l.MarkAll()
	if !l.Since(began) || !l.Since(began, tag(3)) || l.Since(l.Clock(), tag(1)) || l.Latest() != 3 {
		t.Error("MarkAll does not mark all")
	}
	l.Mark(tag(1))
	if !l.Since(l.Clock()-1, tag(1)) || l.Since(l.Clock()-1, tag(2)) || l.Latest(tag(1), tag(2)) != 4 || l.Latest(tag(2)) != 3 {
		t.Error("a mark after MarkAll is not one")
	}
}

// TestAPlaceThatIsSharedForgetsNobody: two tags have one place in the filter, which is
// what a Forget used to be.
func TestAPlaceThatIsSharedForgetsNobody(t *testing.T) {
	l := forget.New(time.Hour, 1000)
	victim, stranger := forget.Tag{0: 7, 1: 7}, forget.Tag{8: 7, 9: 7}
	l.Mark(stranger)
	if l.Since(0, victim) || l.Latest(victim) != 0 {
		t.Error("forgotten by another's mark")
	}
	if !l.Since(0, stranger) {
		t.Error("not forgotten by its own")
	}
}

// TestHitsLostToStrangers: a minute of 10,000 Forgets a second of others, and a million
// entries of three tags that were loaded at any time in it.
func TestHitsLostToStrangers(t *testing.T) {
	entries, forgets := 1_000_000, 600_000
	if testing.Short() || raceEnabled {
		forgets /= 10
	}
	l := forget.New(65*time.Second, 1<<20)
	for i := range forgets {
		l.Mark(tag(-1 - i))
	}
	step := entries / 100_000
	looked, lost := 0, 0
	for i := 0; i < entries; i += step {
		looked++
		if l.Since(uint64(i*forgets/entries), tag(3*i), tag(3*i+1), tag(3*i+2)) {
			lost++
		}
	}
	if lost > looked/1000 {
		t.Errorf("%d of %d hits lost", lost, looked)
	}
}

// TestNoMarkIsMissed: whatever was dropped for the bound or for its age, a tag that was
// marked after a load began is forgotten for it.
func TestNoMarkIsMissed(t *testing.T) {
	for name, test := range map[string]struct {
		most  int
		pause time.Duration
	}{
		"all are kept":             {1 << 20, 0},
		"the bound is reached":     {100, 0},
		"there is room for one":    {1, 0},
		"most are no longer known": {1 << 20, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const marks = 2000
				l := forget.New(time.Minute, test.most)
				for i := range marks {
					l.Mark(tag(i))
					time.Sleep(test.pause)
				}
				for i := range marks {
					for _, began := range []uint64{0, uint64(i) / 2, uint64(i)} {
						if !l.Since(began, tag(i)) {
							t.Fatalf("mark %d is missed by a load that began at %d", i, began)
						}
					}
					if latest := l.Latest(tag(i)); latest < uint64(i)+1 {
						t.Fatalf("mark %d is missed: latest is %d", i, latest)
					}
				}
				if l.Since(l.Clock(), tag(0)) || l.Since(l.Clock()-1, tag(0)) {
					t.Error("a load that began after a mark is forgotten by it")
				}
			})
		})
	}
}

// TestMarksAreKeptForAsLongAsTheyAreNeeded: no shorter, since it is exact only so long;
// and not for ever.
func TestMarksAreKeptForAsLongAsTheyAreNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		victim, stranger := forget.Tag{0: 7, 1: 7}, forget.Tag{8: 7, 9: 7} // of one place
		l := forget.New(time.Minute, 1<<20)
		l.Mark(stranger)
		for i := range 60 {
			time.Sleep(time.Second - 1)
			l.Mark(tag(i))
			if l.Since(0, victim) {
				t.Fatalf("after %d s a stranger's mark has been dropped to the filter", i+1)
			}
		}
		l = forget.New(time.Minute, 1<<20)
		l.Mark(stranger)
		time.Sleep(time.Minute + time.Second)
		l.Mark(tag(1))
		if !l.Since(0, victim) {
			t.Error("a mark is kept for longer than it is needed")
		}
	})
}

// TestAMarkIsKeptFromWhenItWasMade: however old the others are that are dropped with it;
// and where marks come all the time, it is dropped not much later than it may be.
func TestAMarkIsKeptFromWhenItWasMade(t *testing.T) {
	for name, before := range map[string]time.Duration{"the first of its part": 0, "the last of its part": 7 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				victim, stranger := forget.Tag{0: 7, 1: 7}, forget.Tag{8: 7, 9: 7} // of one place
				l := forget.New(time.Minute, 1<<20)
				if before > 0 {
					l.Mark(tag(0))
					time.Sleep(before)
				}
				l.Mark(stranger)
				for i := range 2 * 76 {
					time.Sleep(time.Second / 2)
					l.Mark(tag(1 + i))
					if age := time.Duration(i+1) * time.Second / 2; l.Since(0, victim) && age <= time.Minute {
						t.Fatalf("dropped after %v", age)
					}
				}
				if !l.Since(0, victim) {
					t.Error("kept for more than a quarter of a minute too long")
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		victim, stranger := forget.Tag{0: 7, 1: 7}, forget.Tag{8: 7, 9: 7}
		l := forget.New(time.Minute, 1<<20)
		l.Mark(stranger)
		time.Sleep(time.Minute)
		if l.Mark(tag(1)); l.Since(0, victim) {
			t.Error("dropped at the end of its time, not after it")
		}
	})
}

// TestTheBoundOnMarksIsKeptExactly: an eighth of them is dropped when there would be more.
func TestTheBoundOnMarksIsKeptExactly(t *testing.T) {
	for _, most := range []int{8, 80, 800} {
		victim, stranger := forget.Tag{0: 7, 1: 7}, forget.Tag{8: 7, 9: 7} // of one place
		l := forget.New(time.Hour, most)
		l.Mark(stranger)
		for i := range most - 1 {
			l.Mark(tag(i))
		}
		if l.Since(0, victim) {
			t.Errorf("of %d marks, one is dropped", most)
		}
		if l.Mark(tag(most)); !l.Since(0, victim) {
			t.Errorf("%d marks, and none is dropped", most+1)
		}
	}
}

func TestAMarkCostsAtMost100Bytes(t *testing.T) {
	marks := 1 << 20
	if raceEnabled {
		marks = 1 << 17
	}
	l := forget.New(time.Hour, marks)
	before := heapInUse()
	for i := range 2 * marks { // the second half makes the first be dropped
		l.Mark(tag(i))
	}
	if grown := heapInUse() - before; grown > int64(100*marks) {
		t.Errorf("%d bytes for each", grown/int64(marks))
	}
	runtime.KeepAlive(l)
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestTheClockTellsOfVisibleMarksOnly: who reads a time and finds a tag unmarked
// up to then compares times only from then on. A mark that becomes visible after its
// time would be missed for ever.
func TestTheClockTellsOfVisibleMarksOnly(t *testing.T) {
	marks := uint64(100_000)
	if raceEnabled { // where the readers leave the writer little time
		marks /= 20
	}
	l := forget.New(time.Hour, 1000) // so that parts are dropped all the time
	victim := tag(0)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for seen := uint64(0); seen < marks; {
				clock := l.Clock()
				if !l.Since(seen, victim) && clock > seen {
					t.Errorf("unmarked between %d and %d", seen, clock)
					return
				}
				seen = clock
			}
		})
	}
	for i := range marks {
		if l.Mark(victim); !l.Since(i, victim) {
			t.Fatal("a mark is not seen after Mark has returned")
		}
	}
	wg.Wait()
}

func TestNothingPrintsTags(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		if s := fmt.Sprintf(verb, tag(1)); !strings.Contains(s, "redacted") {
			t.Errorf("%s prints %s", verb, s)
		}
	}
}

func BenchmarkSince(b *testing.B) {
	l := forget.New(time.Hour, 1<<20)
	tags := make([]forget.Tag, 30_000)
	for i := range tags {
		tags[i] = tag(-1 - i)
	}
	b.Run("nothing forgotten", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			l.Since(l.Clock(), tags[i%10_000*3:][:3]...)
		}
	})
	for i := range 600_000 {
		l.Mark(tag(i))
	}
	for _, behind := range []uint64{1, 10_000, 600_000} {
		b.Run(fmt.Sprintf("%d marks behind", behind), func(b *testing.B) {
			began := l.Clock() - behind
			for i := 0; b.Loop(); i++ {
				l.Since(began, tags[i%10_000*3:][:3]...)
			}
		})
	}
}

func BenchmarkMark(b *testing.B) {
	l := forget.New(time.Hour, 1<<20)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Mark(tag(i))
	}
}
