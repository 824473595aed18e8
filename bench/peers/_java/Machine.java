import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.function.Predicate;

/** Processor time and resident memory of this process. */
final class Machine {
    private static final com.sun.management.OperatingSystemMXBean OS =
            (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    private Machine() {}

    /** User and system time of the process, in nanoseconds; the virtual machine counts it in steps of 10 ms. */
    static long cpuNow() {
        return OS.getProcessCpuTime();
    }

    /**
     * Processor time of those threads that live and have such a name, in nanoseconds, as the scheduler counts it. Unlike
     * cpuNow() it is exact enough for a single collection.
     */
    static long cpuOfThreads(Predicate<String> name) {
        long sum = 0;
        try (DirectoryStream<Path> threads = Files.newDirectoryStream(Path.of("/proc/self/task"))) {
            for (Path thread : threads) {
                try {
                    if (name.test(Files.readString(thread.resolve("comm")).strip())) {
                        String times = Files.readString(thread.resolve("schedstat"));
                        sum += Long.parseLong(times.substring(0, times.indexOf(' ')));
                    }
                } catch (NoSuchFileException e) {
                    continue; // the thread has ended meanwhile
                }
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return sum;
    }

    /** A line of /proc/self/status that counts KiB, in bytes. */
    static long status(String key) {
        try {
            for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
                if (line.startsWith(key)) {
                    return Long.parseLong(line.replaceAll("[^0-9]", "")) << 10;
                }
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        throw new IllegalStateException("no " + key + " in /proc/self/status");
    }
}
