// The benchmark program for Go: `PROGRAM WORKLOAD [--scale K] [--seconds N] [--procs P] [--part NAME]`, as
// bench/README.md defines it. The collector runs with its defaults: GOGC=100, no memory limit.

package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

var (
	workload string
	scale    uint   // sizes are shifted right by this
	seconds  uint64 // 0: the workload's own
	procs    int    // 0: the workload's own
	part     string // of sched; empty: all
)

func scaled(size, least uint64) uint64 { return max(size>>scale, least) }

// useProcs sets GOMAXPROCS to what the workload fixes, unless an option overrides it.
func useProcs(fixed int) {
	if procs == 0 {
		procs = fixed
	}
	if procs != 0 {
		runtime.GOMAXPROCS(procs)
	}
}

func refuse(why ...any) {
	fmt.Fprintln(os.Stderr, append([]any{"go:"}, why...)...)
	os.Exit(2)
}

func number(option, text string, least, most uint64) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n < least || n > most {
		refuse(option, text, "is not a number that it takes")
	}
	return n
}

// suffixed is the number after a prefix, as in trees.N20.
func suffixed(name, prefix string, least, most uint64) (uint64, bool) {
	text, ok := strings.CutPrefix(name, prefix)
	n, err := strconv.ParseUint(text, 10, 64)
	return n, ok && err == nil && n >= least && n <= most
}

func run() {
	if n, ok := suffixed(workload, "trees.N", 6, 26); ok {
		runTrees(int(n))
	} else if n, ok := suffixed(workload, "mark.graph", 10, 30); ok {
		runMarkGraph(uint(n))
	} else if n, ok := suffixed(workload, "mark.tree", 9, 30); ok {
		runMarkTree(int(n))
	} else if name, ok := strings.CutPrefix(workload, "alloc."); ok {
		runAlloc(name)
	} else if fn, ok := map[string]func(){
		"window": runWindow, "table": runTable, "parked": runParked, "parked.shared": runParked,
		"sched": func() { runSched(2) }, "sched.1": func() { runSched(1) },
	}[workload]; ok {
		fn()
	} else {
		refuse("unknown workload", workload)
	}
}

func main() {
	if len(os.Args) < 2 {
		refuse("usage: WORKLOAD [--scale K] [--seconds N] [--procs P] [--part NAME]")
	}
	workload = os.Args[1]
	for args := os.Args[2:]; len(args) > 0; args = args[2:] {
		if len(args) == 1 {
			refuse(args[0], "wants a value")
		}
		switch value := args[1]; args[0] {
		case "--scale":
			scale = uint(number(args[0], value, 0, 30))
		case "--seconds":
			seconds = number(args[0], value, 1, 86400)
		case "--procs":
			procs = int(number(args[0], value, 1, 1024))
		case "--part":
			part = value
		default:
			refuse("unknown option", args[0])
		}
	}
	run()
	printCollector()
	printRSSPeak()
	fmt.Printf("info go version %s\n", runtime.Version())
	settings := fmt.Sprintf("GOMAXPROCS=%d", runtime.GOMAXPROCS(0))
	for _, name := range []string{"GOGC", "GOMEMLIMIT", "GODEBUG"} {
		if value := os.Getenv(name); value != "" {
			settings += " " + name + "=" + value
		}
	}
	fmt.Println("info go settings", settings)
}
