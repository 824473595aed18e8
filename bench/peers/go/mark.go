// mark: what it costs to collect a heap in which everything lives.

package main

import (
	"runtime"
	"slices"
)

type graphNode struct {
	to [4]*graphNode
	id uint64
	_  [3]uint64
}

type treeNode struct {
	left, right *treeNode
	id          uint64
	_           uint64
}

func makeGraph(n uint64) *graphNode {
	nodes := make([]*graphNode, n)
	for i := range nodes {
		nodes[i] = &graphNode{id: uint64(i)}
	}
	g := generator(42)
	p := make([]uint32, n)
	for i := range p {
		p[i] = uint32(i)
	}
	for i := n - 1; i > 0; i-- {
		k := g.below(i)
		p[i], p[k] = p[k], p[i]
	}
	for i, node := range nodes {
		node.to[0] = nodes[p[i]]
		for k := 1; k < 4; k++ {
			node.to[k] = nodes[g.next()&(n-1)]
		}
	}
	return nodes[0]
}

func walkGraph(x *graphNode, steps uint64) (checksum uint64) {
	g := generator(43)
	for range steps {
		x = x.to[g.next()&3]
		checksum = fold(checksum, x.id)
	}
	return checksum
}

func makeTree(depth int, made *uint64) *treeNode {
	t := new(treeNode)
	if depth > 0 {
		left := makeTree(depth-1, made)
		right := makeTree(depth-1, made)
		t = &treeNode{left: left, right: right}
	}
	t.id = *made
	*made++
	return t
}

func walkTree(root *treeNode, walks uint64) (checksum uint64) {
	g := generator(43)
	for range walks {
		for x := root; x != nil; {
			checksum = fold(checksum, x.id)
			if g.next()&1 != 0 {
				x = x.right
			} else {
				x = x.left
			}
		}
	}
	return checksum
}

func measureCollections(objects uint64) {
	const collections = 5
	var wall, cpu []uint64
	runtime.GC()
	for range collections {
		start, startCPU := now(), cpuNow()
		runtime.GC()
		wall = append(wall, now()-start)
		cpu = append(cpu, cpuNow()-startCPU)
	}
	slices.Sort(wall)
	slices.Sort(cpu)
	printSeconds("gc_wall", wall[collections/2])
	print("per_object_wall", float64(wall[collections/2])/float64(objects), "ns")
	print("per_object_cpu", float64(cpu[collections/2])/float64(objects), "ns")
	print("objects", float64(objects), "count")
}

func runMarkGraph(log uint) {
	useProcs(0)
	n := scaled(1<<log, 1<<10)
	start := now()
	root := makeGraph(n)
	printSeconds("create", now()-start)
	measureCollections(n)
	printChecksum("", walkGraph(root, scaled(1<<20, 1)))
}

func runMarkTree(depth int) {
	useProcs(0)
	nodes := uint64(0)
	start := now()
	root := makeTree(max(depth-int(scale), 9), &nodes)
	printSeconds("create", now()-start)
	measureCollections(nodes)
	printChecksum("", walkTree(root, scaled(1<<16, 1)))
}
