import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The benchmark program for Java: {@code WORKLOAD [--scale K] [--seconds N]}, as bench/README.md defines it. The script
 * `run` gives it its heap and the properties `system`, `safepoints` (the log of safepoints) and `settings`.
 */
final class Main {
    private static int scale;
    private static int seconds;

    private Main() {}

    /** Divides a size by 2^scale. */
    static long scaled(long size, long least) {
        return Math.max(size >> scale, least);
    }

    static int scale() {
        return scale;
    }

    static int seconds(int usual) {
        return seconds == 0 ? usual : seconds;
    }

    /** Starts a thread. */
    static Thread start(Runnable body) {
        Thread t = new Thread(body);
        t.start();
        return t;
    }

    static void sleep(long ns) {
        try {
            Thread.sleep(ns / 1_000_000, (int) (ns % 1_000_000));
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    static void join(Thread t) {
        try {
            t.join();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private static void refuse(int status, String why) {
        System.err.println(System.getProperty("system") + ": " + why);
        System.exit(status);
    }

    private static int number(String option, String text, int least, int most) {
        try {
            int n = Integer.parseInt(text);
            if (n >= least && n <= most) {
                return n;
            }
        } catch (NumberFormatException e) {
            // refused below
        }
        refuse(2, option + ": " + text + " is not a number that it takes");
        return 0;
    }

    private static boolean runNamed(String workload) {
        Matcher m = Pattern.compile("(trees\\.N|mark\\.graph|mark\\.tree)([0-9]{1,2})").matcher(workload);
        if (!m.matches()) {
            return workload.startsWith("alloc.") && Alloc.run(workload.substring("alloc.".length()));
        }
        int n = Integer.parseInt(m.group(2));
        if (m.group(1).equals("trees.N") && n >= 6 && n <= 26) {
            Trees.run(n);
        } else if (m.group(1).equals("mark.graph") && n >= 10 && n <= 28) {
            Mark.runGraph(n);
        } else if (m.group(1).equals("mark.tree") && n >= 9 && n <= 28) {
            Mark.runTree(n);
        } else {
            return false;
        }
        return true;
    }

    private static void run(String workload) {
        switch (workload) {
            case "window":
                Window.run();
                break;
            case "table":
                Table.run();
                break;
            case "sched":
            case "sched.1":
            case "parked":
            case "parked.shared":
                refuse(77, workload + ": there are no coroutines");
                break;
            default:
                if (!runNamed(workload)) {
                    refuse(2, "unknown workload " + workload);
                }
        }
    }

    public static void main(String[] args) {
        if (args.length % 2 == 0) {
            refuse(2, "usage: WORKLOAD [--scale K] [--seconds N] [--procs P]");
        }
        for (int i = 1; i < args.length; i += 2) {
            switch (args[i]) {
                case "--scale":
                    scale = number(args[i], args[i + 1], 0, 30);
                    break;
                case "--seconds":
                    seconds = number(args[i], args[i + 1], 1, 86400);
                    break;
                default:
                    refuse(2, "unknown option " + args[i]);
            }
        }
        Output.as(args[0], System.getProperty("system"));
        run(args[0]);
        Collector.print(Path.of(System.getProperty("safepoints")));
        Collector.printPeak();
        Output.printInfo("version", ManagementFactory.getRuntimeMXBean().getVmName() + " "
                + ManagementFactory.getRuntimeMXBean().getVmVersion());
        Output.printInfo("settings", System.getProperty("settings"));
    }
}
