import java.util.Locale;

/** The lines in which figures are printed; bench/README.md says what each of them means. */
final class Output {
    private static String workload;
    private static String system;

    private Output() {}

    static void as(String workload, String system) {
        Output.workload = workload;
        Output.system = system;
    }

    static void print(String metric, double value, String unit) {
        int digits = value >= 10000 || value == Math.floor(value) ? 0 : 6;
        System.out.printf(Locale.ROOT, "%s %s %s %." + digits + "f %s%n", workload, system, metric, value, unit);
    }

    static void printSeconds(String metric, long ns) {
        print(metric, ns / 1e9, "s");
    }

    static void printChecksum(long value) {
        System.out.printf(Locale.ROOT, "%s %s checksum %016x -%n", workload, system, value);
    }

    static void printBucket(String name, long upper, long count) {
        System.out.printf(Locale.ROOT, "hist %s %s %s %d %d%n", workload, system, name, upper, count);
    }

    static void printMissing(String metric, String reason) {
        System.out.printf(Locale.ROOT, "missing %s %s %s %s%n", workload, system, metric, reason);
    }

    static void printInfo(String key, String value) {
        System.out.printf(Locale.ROOT, "info %s %s %s%n", system, key, value);
    }
}
