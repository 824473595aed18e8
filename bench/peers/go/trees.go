// trees: binary trees are built and counted by one goroutine for each depth, all at once, while a large one lives.

package main

import "sync"

type tree struct{ left, right *tree }

func build(depth int) *tree {
	if depth == 0 {
		return new(tree)
	}
	left := build(depth - 1)
	return &tree{left, build(depth - 1)}
}

func (t *tree) count() uint64 {
	if t.left == nil {
		return 1
	}
	return 1 + t.left.count() + t.right.count()
}

func runTrees(n int) {
	n = max(n-int(scale), 6)
	useProcs(0)
	start, cpu := now(), cpuNow()
	checksum := build(n + 1).count()
	lasting := build(n)
	counts := make([]uint64, n+1)
	var done sync.WaitGroup
	for depth := 4; depth <= n; depth += 2 {
		done.Go(func() {
			nodes := uint64(0)
			for range 1 << (n - depth + 4) {
				nodes += build(depth).count()
			}
			counts[depth] = nodes
		})
	}
	done.Wait()
	for _, nodes := range counts {
		checksum += nodes
	}
	checksum += lasting.count()
	wall, cpu := now()-start, cpuNow()-cpu
	printSeconds("wall", wall)
	printSeconds("cpu", cpu)
	printChecksum("", checksum)
}
