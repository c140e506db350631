//! All metrics of the process and of its machine. Those of the process have the names of Prometheus'
//! client libraries.

use observe::{Label, Metric};

const VERSION: Label = Label::open("version", "the program's version");
const MODE: Label = Label::closed(
    "mode",
    &[
        "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
    ],
);
const MINUTES: Label = Label::closed("minutes", &["1", "5", "15"]);
const DEVICE: Label = Label::open("device", "the kernel's name");
const IN_OUT: Label = Label::closed("direction", &["in", "out"]);
const READ_WRITE: Label = Label::closed("direction", &["read", "write"]);
const UDP_WHY: Label = Label::closed("why", &["receive_buffer", "send_buffer", "checksum"]);
const FOLDER: Label = Label::open(
    "folder",
    "`--data` of `anteroom up`, else the working directory",
);

/// All metrics that every program has.
pub(crate) const METRICS: &[Metric] = &[
    Metric::gauge("anteroom_build_info", &[VERSION], "Always 1."),
    Metric::counter(
        "process_cpu_seconds_total",
        &[],
        "CPU time of this process, user and system.",
    ),
    Metric::gauge(
        "process_resident_memory_bytes",
        &[],
        "Memory of this process that is in RAM.",
    ),
    Metric::gauge(
        "process_virtual_memory_bytes",
        &[],
        "Address space of this process.",
    ),
    Metric::gauge("process_threads", &[], "Threads of this process."),
    Metric::gauge("process_open_fds", &[], "File descriptors open now."),
    Metric::gauge(
        "process_max_fds",
        &[],
        "File descriptors that may be open (ulimit -n): a WebSocket takes two at the gateway, one at the \
         shard.",
    ),
    Metric::gauge(
        "process_start_time_seconds",
        &[],
        "Start of this process, since the Unix epoch.",
    ),
    Metric::gauge("anteroom_host_cpus", &[], "Cores of the machine."),
    Metric::counter(
        "anteroom_host_cpu_seconds_total",
        &[MODE],
        "CPU time of all cores of the machine.",
    ),
    Metric::gauge(
        "anteroom_host_load_average",
        &[MINUTES],
        "Threads that run or want to, in the mean.",
    ),
    Metric::gauge(
        "anteroom_host_memory_total_bytes",
        &[],
        "RAM of the machine.",
    ),
    Metric::gauge(
        "anteroom_host_memory_available_bytes",
        &[],
        "RAM that programs could still get.",
    ),
    Metric::counter(
        "anteroom_host_network_bytes_total",
        &[DEVICE, IN_OUT],
        "Bytes on the machine's network devices.",
    ),
    Metric::counter(
        "anteroom_host_network_packets_total",
        &[DEVICE, IN_OUT],
        "Packets on the machine's network devices.",
    ),
    Metric::counter(
        "anteroom_host_network_errors_total",
        &[DEVICE, IN_OUT],
        "Broken packets, and packets that could not be sent.",
    ),
    Metric::counter(
        "anteroom_host_network_drops_total",
        &[DEVICE, IN_OUT],
        "Packets thrown away for want of room.",
    ),
    Metric::counter(
        "anteroom_host_udp_errors_total",
        &[UDP_WHY],
        "UDP datagrams of this network namespace that were lost in it. receive_buffer: media nodes read too \
         slowly.",
    ),
    Metric::counter(
        "anteroom_host_disk_bytes_total",
        &[DEVICE, READ_WRITE],
        "Bytes read from and written to whole disks.",
    ),
    Metric::counter(
        "anteroom_host_disk_io_seconds_total",
        &[DEVICE],
        "Time in which the disk had something to do.",
    ),
    Metric::gauge(
        "anteroom_host_filesystem_size_bytes",
        &[FOLDER],
        "Size of the file system that holds the folder.",
    ),
    Metric::gauge(
        "anteroom_host_filesystem_free_bytes",
        &[FOLDER],
        "What this program can still write there.",
    ),
];
