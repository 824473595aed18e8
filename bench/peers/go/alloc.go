// alloc: objects that die at once.
//
// Each type has a loop of its own, since the compiler makes better code for a type that it knows than for a type
// parameter. A constructor that is not inlined makes the object escape: without one it would lie on the stack.

package main

import (
	"slices"
	"sync"
)

type flat16 struct {
	first, last uint64
}

type ptrs16 struct {
	first *ptrs16
	last  uint64
}

type flat64 struct {
	first uint64
	_     [6]uint64
	last  uint64
}

type ptrs64 struct {
	first *ptrs64
	_     [3]*ptrs64
	_     [3]uint64
	last  uint64
}

type flat256 struct {
	first uint64
	_     [30]uint64
	last  uint64
}

type ptrs256 struct {
	first *ptrs256
	_     [15]*ptrs256
	_     [15]uint64
	last  uint64
}

type flat1024 struct {
	first uint64
	_     [126]uint64
	last  uint64
}

type ptrs1024 struct {
	first *ptrs1024
	_     [63]*ptrs1024
	_     [63]uint64
	last  uint64
}

//go:noinline
func newFlat16() *flat16 { return new(flat16) }

//go:noinline
func newPtrs16() *ptrs16 { return new(ptrs16) }

//go:noinline
func newFlat64() *flat64 { return new(flat64) }

//go:noinline
func newPtrs64() *ptrs64 { return new(ptrs64) }

//go:noinline
func newFlat256() *flat256 { return new(flat256) }

//go:noinline
func newPtrs256() *ptrs256 { return new(ptrs256) }

//go:noinline
func newFlat1024() *flat1024 { return new(flat1024) }

//go:noinline
func newPtrs1024() *ptrs1024 { return new(ptrs1024) }

func churnFlat16(m, n uint64) (sum uint64) {
	for i := range n {
		o := newFlat16()
		o.first = i + m
		o.last = i + m
		sum += o.first + o.last
	}
	return sum
}

func churnPtrs16(m, n uint64) (sum uint64) {
	anchor := newPtrs16()
	for i := range n {
		o := newPtrs16()
		o.first = anchor
		o.last = i + m
		sum += o.last
		if o.first == anchor {
			sum++
		}
	}
	return sum
}

func churnFlat64(m, n uint64) (sum uint64) {
	for i := range n {
		o := newFlat64()
		o.first = i + m
		o.last = i + m
		sum += o.first + o.last
	}
	return sum
}

func churnPtrs64(m, n uint64) (sum uint64) {
	anchor := newPtrs64()
	for i := range n {
		o := newPtrs64()
		o.first = anchor
		o.last = i + m
		sum += o.last
		if o.first == anchor {
			sum++
		}
	}
	return sum
}

func churnFlat256(m, n uint64) (sum uint64) {
	for i := range n {
		o := newFlat256()
		o.first = i + m
		o.last = i + m
		sum += o.first + o.last
	}
	return sum
}

func churnPtrs256(m, n uint64) (sum uint64) {
	anchor := newPtrs256()
	for i := range n {
		o := newPtrs256()
		o.first = anchor
		o.last = i + m
		sum += o.last
		if o.first == anchor {
			sum++
		}
	}
	return sum
}

func churnFlat1024(m, n uint64) (sum uint64) {
	for i := range n {
		o := newFlat1024()
		o.first = i + m
		o.last = i + m
		sum += o.first + o.last
	}
	return sum
}

func churnPtrs1024(m, n uint64) (sum uint64) {
	anchor := newPtrs1024()
	for i := range n {
		o := newPtrs1024()
		o.first = anchor
		o.last = i + m
		sum += o.last
		if o.first == anchor {
			sum++
		}
	}
	return sum
}

var churns = map[string]struct {
	log   uint
	churn func(m, n uint64) uint64
}{
	"flat.16": {26, churnFlat16}, "flat.64": {25, churnFlat64}, "flat.256": {24, churnFlat256}, "flat.1024": {22, churnFlat1024},
	"ptrs.16": {26, churnPtrs16}, "ptrs.64": {25, churnPtrs64}, "ptrs.256": {24, churnPtrs256}, "ptrs.1024": {22, churnPtrs1024},
}

// runAlloc takes KIND.SIZE.tT.
func runAlloc(name string) {
	dot := len(name) - len(".t1")
	if dot < 0 || !slices.Contains([]string{".t1", ".t2"}, name[dot:]) {
		refuse("unknown workload", workload)
	}
	c, ok := churns[name[:dot]]
	if !ok {
		refuse("unknown workload", workload)
	}
	mutators := int(name[len(name)-1] - '0')
	useProcs(mutators)

	n := scaled(1<<c.log, 1)
	sums := make([]uint64, mutators)
	var warm, done sync.WaitGroup
	start := make(chan struct{})
	warm.Add(mutators)
	for m := range mutators {
		done.Go(func() {
			c.churn(uint64(m), n/16)
			warm.Done()
			<-start
			sums[m] = c.churn(uint64(m), n)
		})
	}
	warm.Wait()
	began, cpu := now(), cpuNow()
	close(start)
	done.Wait()
	wall, cpu := now()-began, cpuNow()-cpu

	sum := uint64(0)
	for _, s := range sums {
		sum += s
	}
	all := float64(n) * float64(mutators)
	print("alloc", float64(wall)/all, "ns")
	print("alloc_cpu", float64(cpu)/all, "ns")
	printChecksum("", sum)
}
