import java.util.ArrayList;
import java.util.List;

/** trees: binary trees are built and counted by one thread for each depth, all at once, while a large one lives. */
final class Trees {
    private Trees() {}

    private static final class Tree {
        final Tree left;
        final Tree right;

        Tree(Tree left, Tree right) {
            this.left = left;
            this.right = right;
        }

        long count() {
            return left == null ? 1 : 1 + left.count() + right.count();
        }
    }

    private static Tree build(int depth) {
        return depth == 0 ? new Tree(null, null) : new Tree(build(depth - 1), build(depth - 1));
    }

    static void run(int wanted) {
        int n = Math.max(wanted - Main.scale(), 6);
        long start = System.nanoTime(), cpu = Machine.cpuNow();
        long checksum = build(n + 1).count();
        Tree lasting = build(n);
        long[] counts = new long[n + 1];
        List<Thread> threads = new ArrayList<>();
        for (int d = 4; d <= n; d += 2) {
            int depth = d;
            threads.add(Main.start(() -> {
                long nodes = 0;
                for (long i = 1L << (n - depth + 4); i > 0; i--) {
                    nodes += build(depth).count();
                }
                counts[depth] = nodes;
            }));
        }
        threads.forEach(Main::join);
        for (long nodes : counts) {
            checksum += nodes;
        }
        checksum += lasting.count();
        long wall = System.nanoTime() - start;
        cpu = Machine.cpuNow() - cpu;
        Output.printSeconds("wall", wall);
        Output.printSeconds("cpu", cpu);
        Output.printChecksum(checksum);
    }
}
