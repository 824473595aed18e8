import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.GarbageCollectorMXBean;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * What the collector did and what it cost.
 *
 * <p>Pauses come from the virtual machine's log of safepoints, to the nanosecond: from when one is asked for until the
 * threads may go on. It stops all threads, so a pause is at once a time for which all stand still. Processor time is
 * that of the collector's threads and of the one that executes safepoints; what barriers cost the program's own
 * threads is not in it.
 */
final class Collector {
    private static final Pattern PAUSE = Pattern.compile("Safepoint \"(?:Z|G1)[A-Za-z0-9]*\",.* Total: *([0-9]+) ns");
    private static final Pattern THREAD =
            Pattern.compile("GC Thread.*|G1 .*|ZWorker.*|ZD.*|ZUn.*|ZStat.*|RuntimeWorker.*|VM Thread");

    private Collector() {}

    static boolean isZ() {
        return ManagementFactory.getGarbageCollectorMXBeans().get(0).getName().startsWith("ZGC");
    }

    private static long cycles() {
        long cycles = 0;
        for (GarbageCollectorMXBean bean : ManagementFactory.getGarbageCollectorMXBeans()) {
            if (!bean.getName().equals("ZGC Pauses")) {
                cycles += bean.getCollectionCount();
            }
        }
        return cycles;
    }

    private static Histogram pauses(Path log) {
        Histogram pauses = new Histogram();
        try {
            for (String line : Files.readAllLines(log)) {
                Matcher m = PAUSE.matcher(line);
                if (m.find()) {
                    pauses.record(Long.parseLong(m.group(1)));
                }
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return pauses;
    }

    static void print(Path log) {
        Histogram pauses = pauses(log);
        Output.print("gc_cycles", cycles(), "count");
        Output.print("gc_cpu", Machine.cpuOfThreads(THREAD.asMatchPredicate()) / 1e9, "s");
        Output.print("gc_pause_p50", pauses.quantile(0.5), "ns");
        Output.print("gc_pause_max", pauses.max(), "ns");
        Output.print("gc_all_stopped_max", pauses.max(), "ns");
    }

    /**
     * The peak of resident memory. ZGC maps its heap at three addresses, and the kernel counts a page once for each at
     * which it was touched; it may also hold memory that was never touched. So what it holds of the system's memory,
     * which does not shrink in runs that are as short as these, is taken if that is less.
     */
    static void printPeak() {
        double peak = Machine.status("VmHWM:");
        if (isZ()) {
            Output.print("rss_peak_as_mapped", peak / (1 << 20), "MiB");
            peak = Math.min(peak,
                    Machine.status("RssAnon:") + Machine.status("RssFile:") + Runtime.getRuntime().totalMemory());
        }
        Output.print("rss_peak", peak / (1 << 20), "MiB");
    }
}
