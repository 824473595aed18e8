// parked: a million goroutines that wait on one channel: what they cost in memory, and in time to make, to collect
// beside, and to wake. parked.shared is the same: there is no other kind of goroutine.

package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

func runParked() {
	useProcs(2)
	n := scaled(1000000, 16)
	gate := make(chan struct{})
	var arrived, sum atomic.Uint64
	var ended sync.WaitGroup
	ended.Add(int(n))
	rss := status("VmRSS:")

	start := now()
	for i := range n {
		go func() {
			arrived.Add(1)
			<-gate
			sum.Add(mix(i))
			ended.Done()
		}()
	}
	for arrived.Load() < n {
		time.Sleep(time.Millisecond)
	}
	create := now() - start

	time.Sleep(100 * time.Millisecond)
	each := (status("VmRSS:") - rss) / float64(n)

	start = now()
	runtime.GC()
	collection := now() - start

	start = now()
	close(gate)
	ended.Wait()
	wake := now() - start

	print("rss_each", each, "B")
	printSeconds("create", create)
	printSeconds("gc_wall", collection)
	printSeconds("wake_and_end", wake)
	printChecksum("", sum.Load())
}
