// Simulation measures how far one Redis goes as the bus of a fleet: so many followers in one process,
// one redis-server, and Forgets at a steady rate. It prints what came of it, and what a larger fleet
// would take by that.
//
//	go -C examples/fleet run ./simulation -followers 3,30,100 -lag 1s
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	followers := flag.String("followers", "3,30,100", "how many followers, a run each")
	rate := flag.Int("rate", 100, "Forgets a second, from all together")
	lag := flag.Duration("lag", time.Second, "the Lag of the bus")
	duration := flag.Duration("duration", 10*time.Second, "how long each run is measured")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := simulate(ctx, os.Stdout, strings.Split(*followers, ","), load{rate: *rate, lag: *lag, duration: *duration})
	if err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "simulation:", err)
		os.Exit(1) //nolint:gocritic // stop has run
	}
}

// simulate makes a run for each number of followers, with a new redis-server.
func simulate(ctx context.Context, out io.Writer, followers []string, l load) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "followers\tLag\tForgets/s\tconnections\tentries/s\tdeliveries/s\treplies/s\tp50\tp99\tmax\tRedis CPU\tfollowers' CPU\tsent for one\tkept for one\tlost\t")
	var runs []result
	for _, text := range followers {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			return fmt.Errorf("-followers: %q is not a number of followers", text)
		}
		l.followers = n
		r, err := l.run(ctx)
		if err != nil {
			return err
		}
		runs = append(runs, r)
		fmt.Fprintf(table, "%d\t%v\t%.0f\t%d\t%.0f\t%.0f\t%.0f\t%v\t%v\t%v\t%.0f %%\t%.0f %%\t%.0f B\t%.0f B\t%d\t\n",
			n, l.lag, r.forgets, r.connections, r.entries, r.deliveries, r.replies, r.quantile(0.5), r.quantile(0.99), r.quantile(1),
			100*r.redisCPU, 100*r.ownCPU, r.bytes, r.kept, r.lost)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return extrapolate(out, runs[0], runs[len(runs)-1])
}

// extrapolate prints what larger fleets would take. Redis brings each follower what is new in a reply,
// which has a cost of its own, and each entry in it has one; two runs tell them apart.
func extrapolate(out io.Writer, first, last result) error {
	det := first.replies*last.deliveries - last.replies*first.deliveries
	reply := (first.redisCPU*last.deliveries - last.redisCPU*first.deliveries) / det
	entry := (first.replies*last.redisCPU - last.replies*first.redisCPU) / det
	if det == 0 || reply <= 0 || entry <= 0 {
		_, err := fmt.Fprintln(out, "\nThe first and the last run are too much alike to tell what a larger fleet takes.")
		return err
	}
	fmt.Fprintf(out, "\nRedis takes %.1f µs for a reply and %.2f µs for each entry in it, by the first and the last run.\n"+
		"With 100 Forgets a second, and a reply to every follower in turn:\n", 1e6*reply, 1e6*entry)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "replicas\tLag\tentries/s\tCPU for entries\ta turn to all takes\tRedis sends\tstream of 5 minutes\t")
	for _, size := range []struct {
		replicas float64
		lag      time.Duration
	}{
		{10, time.Second}, {100, time.Second}, {300, time.Second}, {1000, time.Second},
		{1000, 10 * time.Second}, {1000, 30 * time.Second}, {3000, 30 * time.Second},
	} {
		entries := 4*size.replicas/size.lag.Seconds() + 100
		share := entries * size.replicas * entry
		turn := "never ends"
		if share < 1 {
			turn = fmt.Sprintf("%.1f ms", 1000*size.replicas*reply/(1-share))
		}
		fmt.Fprintf(table, "%.0f\t%v\t%.0f\t%.0f %%\t%s\t%.1f MB/s\t%.0f MB\t\n", size.replicas, size.lag, entries,
			100*share, turn, entries*size.replicas*last.bytes/1e6, entries*300*last.kept/1e6)
	}
	return table.Flush()
}
