// sched: what the scheduler's own operations cost, each part in a loop of its own.

package main

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Each part takes the number of all its operations and returns its checksum.

func yield(n uint64) uint64 {
	const yielders = 8
	var done sync.WaitGroup
	var sum atomic.Uint64
	for range yielders {
		done.Go(func() {
			for range n / yielders {
				runtime.Gosched()
			}
			sum.Add(n / yielders)
		})
	}
	done.Wait()
	return sum.Load()
}

func pingpong(n uint64) (sum uint64) {
	to, from := make(chan uint64), make(chan uint64)
	var done sync.WaitGroup
	done.Go(func() {
		for v := range to {
			from <- v + 1
		}
	})
	for i := range n {
		to <- i
		sum += <-from
	}
	close(to)
	done.Wait()
	return sum
}

func pipe(n, pairs uint64) uint64 {
	c := make(chan uint64, 128)
	var senders, receivers sync.WaitGroup
	var total atomic.Uint64
	for range pairs {
		receivers.Go(func() {
			sum := uint64(0)
			for v := range c {
				sum += v
			}
			total.Add(sum)
		})
		senders.Go(func() {
			for i := range n / pairs {
				c <- i
			}
		})
	}
	senders.Wait()
	close(c)
	receivers.Wait()
	return total.Load()
}

func selectUnbuffered(n uint64) (sum uint64) {
	var c [4]chan uint64
	for i := range c {
		c[i] = make(chan uint64)
		go func() {
			for v := range n / 4 {
				c[i] <- v
			}
		}()
	}
	for range n / 4 * 4 {
		select {
		case v := <-c[0]:
			sum += v
		case v := <-c[1]:
			sum += v
		case v := <-c[2]:
			sum += v
		case v := <-c[3]:
			sum += v
		}
	}
	return sum
}

func selectReady(n uint64) (sum uint64) {
	var c [4]chan uint64
	for i := range c {
		c[i] = make(chan uint64, 128)
		for range 64 {
			c[i] <- 0
		}
	}
	for range n {
		select {
		case v := <-c[0]:
			c[0] <- v + 1
		case v := <-c[1]:
			c[1] <- v + 1
		case v := <-c[2]:
			c[2] <- v + 1
		case v := <-c[3]:
			c[3] <- v + 1
		}
	}
	for i := range c {
		for range 64 {
			sum += <-c[i]
		}
	}
	return sum
}

const batch = 10000

func spawnJoin(n uint64) uint64 {
	var sum atomic.Uint64
	var done sync.WaitGroup
	for range n / batch {
		done.Add(batch)
		for i := range uint64(batch) {
			go func() {
				sum.Add(i)
				done.Done()
			}()
		}
		done.Wait()
	}
	return sum.Load()
}

func lockBy(n, goroutines uint64) uint64 {
	var lock sync.Mutex
	var counter uint64
	var done sync.WaitGroup
	for range goroutines {
		done.Go(func() {
			for range n / goroutines {
				lock.Lock()
				counter++
				lock.Unlock()
			}
		})
	}
	done.Wait()
	return counter
}

func skynetCell(parent chan<- uint64, first, size uint64) {
	if size == 1 {
		parent <- first
		return
	}
	children := make(chan uint64)
	for k := range uint64(10) {
		go skynetCell(children, first+k*(size/10), size/10)
	}
	sum := uint64(0)
	for range 10 {
		sum += <-children
	}
	parent <- sum
}

func skynet() {
	leaves := uint64(100)
	for digits := 6 - (int(scale)+2)/3; digits > 2; digits-- {
		leaves *= 10
	}
	checksum := uint64(0)
	once := func() uint64 {
		start := now()
		root := make(chan uint64)
		go skynetCell(root, 0, leaves)
		checksum += <-root
		return now() - start
	}
	printSeconds("skynet_cold", once())
	warm := []uint64{once(), once(), once()}
	slices.Sort(warm)
	printSeconds("skynet_warm", warm[1])
	printChecksum(".skynet", checksum)
}

func sleepLate() {
	late := new(histogram)
	for range scaled(500, 1) {
		t := now()
		time.Sleep(time.Millisecond)
		late.record(now() - t - uint64(time.Millisecond))
	}
	printLatency("sleep_late", late)
	printChecksum(".sleep_late", late.count)
}

// The parts that are measured alike: all operations of a part, and what they are a multiple of.
var parts = []struct {
	name     string
	n, least uint64
	run      func(n uint64) uint64
}{
	{"yield", 8 * 500000, 8, yield},
	{"pingpong_roundtrip", 1000000, 1, pingpong},
	{"chan128_1p1c", 4000000, 1, func(n uint64) uint64 { return pipe(n, 1) }},
	{"chan128_4p4c", 4 * 1000000, 4, func(n uint64) uint64 { return pipe(n, 4) }},
	{"select4_unbuffered", 4 * 250000, 4, selectUnbuffered},
	{"select4_ready", 2000000, 1, selectReady},
	{"spawn_join", 100 * batch, batch, spawnJoin},
	{"mutex_uncontended", 20000000, 1, func(n uint64) uint64 { return lockBy(n, 1) }},
	{"mutex_8", 8 * 500000, 8, func(n uint64) uint64 { return lockBy(n, 8) }},
}

func whole(n, least uint64) uint64 { return max(n-n%least, least) }

func runSched(fixed int) {
	useProcs(fixed)
	for _, p := range parts {
		if part != "" && part != p.name {
			continue
		}
		n := whole(scaled(p.n, 1), p.least)
		p.run(whole(n/16, p.least))
		start := now()
		checksum := p.run(n)
		print(p.name, float64(now()-start)/float64(n), "ns")
		printChecksum("."+p.name, checksum)
	}
	if part == "" || part == "sleep_late" {
		sleepLate()
	}
	if part == "" || part == "skynet" {
		skynet()
	}
}
