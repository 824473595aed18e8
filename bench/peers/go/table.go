// table: a large table of chains that two goroutines read and replace nodes in, beside a sleeper and forced collections.
//
// Nothing is locked: keys of one parity belong to one worker, and a chain holds keys of one parity.

package main

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

type tableNode struct {
	next                *tableNode
	key, version, check uint64
	_                   [4]uint64
}

func checkOf(key, version uint64) uint64 { return mix(key + version*0x9e3779b97f4a7c15) }

func makeTable(chains uint64) []*tableNode {
	heads := make([]*tableNode, chains)
	for key := range 4 * chains {
		c := key & (chains - 1)
		heads[c] = &tableNode{next: heads[c], key: key, check: checkOf(key, 0)}
	}
	return heads
}

func operate(heads []*tableNode, r, m uint64) {
	chains := uint64(len(heads))
	key := r&(4*chains-1)&^1 | m
	place := &heads[key&(chains-1)]
	for *place != nil && (*place).key != key {
		place = &(*place).next
	}
	n := *place
	if n == nil || n.check != checkOf(key, n.version) {
		fail(fmt.Sprintf("table: node %d is lost or damaged", key))
	}
	if r>>63 != 0 {
		version := n.version + 1
		*place = &tableNode{next: n.next, key: key, version: version, check: checkOf(key, version)}
	}
}

func work(heads []*tableNode, m uint64, latency *histogram, stop *atomic.Bool) {
	g := generator(100 + m)
	for last := now(); !stop.Load(); {
		operate(heads, g.next(), m)
		t := now()
		latency.record(t - last)
		last = t
	}
}

func tick(late *histogram, stop *atomic.Bool) {
	for !stop.Load() {
		t := now()
		time.Sleep(time.Millisecond)
		late.record(now() - t - uint64(time.Millisecond))
	}
}

// collect forces a collection one second after the start and ten after each before, while time is left.
func collect(end uint64) {
	for at := now() + uint64(time.Second); at < end; at += uint64(10 * time.Second) {
		time.Sleep(time.Duration(int64(at) - int64(now())))
		runtime.GC()
	}
}

func verifyAll(heads []*tableNode) (sum uint64) {
	for _, n := range heads {
		for ; n != nil; n = n.next {
			if n.check != checkOf(n.key, n.version) {
				fail(fmt.Sprintf("table: node %d is damaged", n.key))
			}
			sum += mix(n.key)
		}
	}
	return sum
}

func runTable() {
	useProcs(2)
	if seconds == 0 {
		seconds = 30
	}
	start := now()
	heads := makeTable(scaled(1<<24, 1<<8))
	printSeconds("create", now()-start)

	var latency [2]histogram
	var late histogram
	var stop atomic.Bool
	var workers, others sync.WaitGroup
	start, cpu := now(), cpuNow()
	end := start + seconds*uint64(time.Second)
	others.Go(func() { collect(end) })
	others.Go(func() { tick(&late, &stop) })
	for m := range uint64(2) {
		workers.Go(func() { work(heads, m, &latency[m], &stop) })
	}
	time.Sleep(time.Duration(end - now()))
	stop.Store(true)
	workers.Wait()
	wall, cpu := now()-start, cpuNow()-cpu
	others.Wait()

	latency[0].add(&latency[1])
	print("ops", float64(latency[0].count)/(float64(wall)/1e9), "1/s")
	printSeconds("cpu", cpu)
	printLatency("op", &latency[0])
	printLatency("tick_late", &late)
	printChecksum("", verifyAll(heads))
}
