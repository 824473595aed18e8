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
	"unsafe"
)

// What is measured with: clocks, resident memory, a histogram of latencies, the collector's own figures, and the line
// `workload system metric value unit` in which a figure is printed.

// A histogram is log-linear, 32 buckets for each power of two, so a quantile is exact to about 3 %; the maximum is kept
// apart and is exact. Each goroutine has its own, and they are added up when the goroutines have ended.
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

// quantile is the upper edge of the bucket in which the quantile lies, or the maximum if that is less.
func (h *histogram) quantile(q float64) uint64 {
	rank, seen := uint64(q*float64(h.count)), uint64(0)
	for i, n := range h.buckets {
		seen += n
		if seen > rank {
			edge := uint64(i)
			if i >= 32 {
				edge = uint64(32+i%32+1)<<(i/32-1) - 1
			}
			return min(edge, h.max)
		}
	}
	return h.max
}

var started = time.Now()

// now is the monotonic clock, in nanoseconds.
func now() uint64 { return uint64(time.Since(started)) }

// cpuNow is the processor time of the whole process, in nanoseconds, by the clock that also counts the microseconds
// of a thread that runs at this moment.
func cpuNow() uint64 {
	const clockProcessCPUTime = 2
	var t syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockProcessCPUTime, uintptr(unsafe.Pointer(&t)), 0)
	return uint64(t.Nano())
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

func rssPeak() float64 { return status("VmHWM:") / (1 << 20) }

func fail(why any) {
	fmt.Fprintln(os.Stderr, "go peer:", why)
	os.Exit(1)
}

var workload string

func print(metric string, value float64, unit string) {
	fmt.Printf("%s go %s %.6g %s\n", workload, metric, value, unit)
}

func printChecksum(value uint64) {
	fmt.Printf("%s go checksum %d id\n", workload, value)
}

// The collector's figures, as the runtime keeps them.
type collector struct {
	cycles         uint64
	cpu            float64
	pauses, stalls *metrics.Float64Histogram
}

func readCollector() collector {
	samples := []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/cpu/classes/gc/total:cpu-seconds"},
		{Name: "/sched/pauses/total/gc:seconds"},
	}
	metrics.Read(samples)
	return collector{
		cycles: samples[0].Value.Uint64(),
		cpu:    samples[1].Value.Float64(),
		pauses: samples[2].Value.Float64Histogram(),
	}
}

// bucketMiddle is the middle of a bucket of the runtime's histograms, whose width is a quarter of its power of two.
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

// printCollector prints what the collector did since before. A pause of Go's is a stop of the world: from the moment
// that it is asked for until all goroutines may run again. It is at once the longest interruption of one goroutine and
// the time for which all stand still.
func printCollector(before collector) {
	after := readCollector()
	counts := make([]uint64, len(after.pauses.Counts))
	total := uint64(0)
	for i := range counts {
		counts[i] = after.pauses.Counts[i] - before.pauses.Counts[i]
		total += counts[i]
	}
	var p50, longest float64
	seen, found := uint64(0), false
	for i, n := range counts {
		if n == 0 {
			continue
		}
		seen += n
		longest = bucketMiddle(after.pauses, i)
		if !found && seen > total/2 {
			p50, found = longest, true
		}
	}
	print("gc_cycles", float64(after.cycles-before.cycles), "count")
	print("gc_cpu", after.cpu-before.cpu, "s")
	print("gc_pause_p50", p50*1e9, "ns")
	print("gc_pause_max", longest*1e9, "ns")
	print("gc_all_stopped_max", longest*1e9, "ns")
}
