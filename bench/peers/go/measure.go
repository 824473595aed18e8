// What is measured with: clocks, resident memory, histograms of latencies, what the runtime says of its collector, and
// the lines in which figures are printed. bench/README.md says what each of them means.

package main

import (
	"fmt"
	"math"
	"math/bits"
	"os"
	"runtime/metrics"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Each goroutine has a histogram of its own, and they are added up when the goroutines have ended.
type histogram struct {
	count, max uint64
	buckets    [60 * 32]uint64
}

func (h *histogram) record(v uint64) {
	bucket := v
	if v >= 32 {
		log := uint64(bits.Len64(v) - 1)
		bucket = (log-4)*32 + v>>(log-5)&31
	}
	h.buckets[bucket]++
	h.count++
	h.max = max(h.max, v)
}

func (h *histogram) add(from *histogram) {
	for i, n := range from.buckets {
		h.buckets[i] += n
	}
	h.count += from.count
	h.max = max(h.max, from.max)
}

func upperEdge(bucket int) uint64 {
	if bucket < 32 {
		return uint64(bucket)
	}
	return uint64(32+bucket%32+1)<<(bucket/32-1) - 1
}

func (h *histogram) quantile(q float64) uint64 {
	rank, seen := max(1, uint64(math.Ceil(q*float64(h.count)))), uint64(0)
	for bucket, n := range h.buckets {
		if seen += n; seen >= rank {
			return min(upperEdge(bucket), h.max)
		}
	}
	return h.max
}

var started = time.Now()

// now is the monotonic clock, in nanoseconds.
func now() uint64 { return uint64(time.Since(started)) }

// cpuNow is the user and system time of the whole process, in nanoseconds.
func cpuNow() uint64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		fail(err)
	}
	return uint64(r.Utime.Nano() + r.Stime.Nano())
}

// status is a line of /proc/self/status that counts KiB, in bytes.
func status(name string) float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fail(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == name {
			kib, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				fail(err)
			}
			return kib * 1024
		}
	}
	fail("no " + name + " in /proc/self/status")
	return 0
}

func fail(why any) {
	fmt.Fprintln(os.Stderr, "go:", why)
	os.Exit(1)
}

func print(metric string, value float64, unit string) {
	digits := 6
	if value >= 10000 || value == math.Floor(value) {
		digits = 0
	}
	fmt.Printf("%s go %s %.*f %s\n", workload, metric, digits, value, unit)
}

func printChecksum(part string, value uint64) {
	fmt.Printf("%s go checksum%s %016x -\n", workload, part, value)
}

// printLatency prints NAME_p50 and so on to NAME_max, and all buckets.
func printLatency(name string, h *histogram) {
	for _, q := range []struct {
		suffix string
		q      float64
	}{{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}} {
		print(name+"_"+q.suffix, float64(h.quantile(q.q)), "ns")
	}
	print(name+"_max", float64(h.max), "ns")
	for bucket, n := range h.buckets {
		if n != 0 {
			fmt.Printf("hist %s go %s %d %d\n", workload, name, upperEdge(bucket), n)
		}
	}
}

func printSeconds(metric string, ns uint64) { print(metric, float64(ns)/1e9, "s") }

func printRSSPeak() { print("rss_peak", status("VmHWM:")/(1<<20), "MiB") }

// bucketMiddle is the middle of a bucket of the runtime's histograms.
func bucketMiddle(h *metrics.Float64Histogram, i int) float64 {
	low, high := h.Buckets[i], h.Buckets[i+1]
	switch {
	case math.IsInf(low, -1):
		return high
	case math.IsInf(high, 1):
		return low
	}
	return (low + high) / 2
}

// printCollector prints what the collector did since the program began, as the runtime counts it. A pause of Go's is a
// stop of the world, from the moment that it is asked for until all goroutines may run again: at once an interruption of
// each goroutine and a time for which all stand still. Its histogram has four buckets for each power of two; what is
// printed is the middle of one. Assists, in which goroutines mark as they allocate, are in the processor time only.
func printCollector() {
	samples := []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/cpu/classes/gc/total:cpu-seconds"},
		{Name: "/sched/pauses/total/gc:seconds"},
	}
	metrics.Read(samples)
	pauses := samples[2].Value.Float64Histogram()
	total, seen := uint64(0), uint64(0)
	for _, n := range pauses.Counts {
		total += n
	}
	var p50, longest float64
	for i, n := range pauses.Counts {
		if n == 0 {
			continue
		}
		longest = bucketMiddle(pauses, i)
		if seen < (total+1)/2 {
			p50 = longest
		}
		seen += n
	}
	print("gc_cycles", float64(samples[0].Value.Uint64()), "count")
	print("gc_cpu", samples[1].Value.Float64(), "s")
	print("gc_pause_p50", p50*1e9, "ns")
	print("gc_pause_max", longest*1e9, "ns")
	print("gc_all_stopped_max", longest*1e9, "ns")
}
