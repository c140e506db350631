//! Reads process and machine from `/proc` (proc(5)). What cannot be read is not shown: a container may
//! hide parts of it.

use super::page::Page;
use procfs::net::DeviceStatus;
use procfs::process::{LimitValue, Process};
use procfs::{Current as _, CurrentSI as _};
use procfs::{KernelStats, LoadAverage, Meminfo, ProcResult};
use std::path::Path;

/// Most network devices and disks shown: a machine with thousands of virtual ones shall not fill the page.
const DEVICES_MAX: usize = 32;
/// The unit of `/proc/diskstats`, whatever the disk has.
const SECTOR_BYTES: u64 = 512;

/// Reads everything. `folder` need not exist yet.
pub(super) fn read(page: &mut Page, folder: &Path) {
    let parts = [
        process(page),
        cpu(page),
        load(page),
        memory(page),
        network(page),
        udp(page),
        disks(page),
    ];
    for error in parts.into_iter().filter_map(Result::err) {
        tracing::debug!(%error, "a part of /proc cannot be read");
    }
    disk_space(page, folder);
}

fn process(page: &mut Page) -> ProcResult<()> {
    let myself = Process::myself()?;
    let stat = myself.stat()?;
    let ticks = procfs::ticks_per_second();
    let pages = procfs::page_size();
    let cpu = seconds(stat.utime + stat.stime, ticks);
    page.one("process_cpu_seconds_total", &[], cpu);
    page.one(
        "process_resident_memory_bytes",
        &[],
        float(stat.rss * pages),
    );
    page.one("process_virtual_memory_bytes", &[], float(stat.vsize));
    page.one("process_threads", &[], stat.num_threads as f64);
    page.one("process_open_fds", &[], myself.fd_count()? as f64);
    if let LimitValue::Value(most) = myself.limits()?.max_open_files.soft_limit {
        page.one("process_max_fds", &[], float(most));
    }
    let booted = KernelStats::current()?.btime;
    let started = float(booted) + seconds(stat.starttime, ticks);
    page.one("process_start_time_seconds", &[], started);
    Ok(())
}

fn cpu(page: &mut Page) -> ProcResult<()> {
    let stats = KernelStats::current()?;
    let ticks = procfs::ticks_per_second();
    page.one("anteroom_host_cpus", &[], stats.cpu_time.len() as f64);
    let total = &stats.total;
    let modes = [
        ("user", Some(total.user)),
        ("nice", Some(total.nice)),
        ("system", Some(total.system)),
        ("idle", Some(total.idle)),
        ("iowait", total.iowait),
        ("irq", total.irq),
        ("softirq", total.softirq),
        ("steal", total.steal),
    ];
    for (mode, spent) in modes {
        let spent = seconds(spent.unwrap_or_default(), ticks);
        page.one("anteroom_host_cpu_seconds_total", &[("mode", mode)], spent);
    }
    Ok(())
}

fn load(page: &mut Page) -> ProcResult<()> {
    let load = LoadAverage::current()?;
    for (minutes, value) in [("1", load.one), ("5", load.five), ("15", load.fifteen)] {
        let labels = [("minutes", minutes)];
        page.one("anteroom_host_load_average", &labels, f64::from(value));
    }
    Ok(())
}

fn memory(page: &mut Page) -> ProcResult<()> {
    let memory = Meminfo::current()?;
    let total = float(memory.mem_total);
    page.one("anteroom_host_memory_total_bytes", &[], total);
    let available = memory.mem_available.unwrap_or(memory.mem_free);
    page.one(
        "anteroom_host_memory_available_bytes",
        &[],
        float(available),
    );
    Ok(())
}

fn network(page: &mut Page) -> ProcResult<()> {
    let mut devices: Vec<DeviceStatus> = procfs::net::dev_status()?.into_values().collect();
    devices.sort_by(|a, b| a.name.cmp(&b.name));
    for device in devices.iter().take(DEVICES_MAX) {
        let figures = [
            (
                "anteroom_host_network_bytes_total",
                device.recv_bytes,
                device.sent_bytes,
            ),
            (
                "anteroom_host_network_packets_total",
                device.recv_packets,
                device.sent_packets,
            ),
            (
                "anteroom_host_network_errors_total",
                device.recv_errs,
                device.sent_errs,
            ),
            (
                "anteroom_host_network_drops_total",
                device.recv_drop,
                device.sent_drop,
            ),
        ];
        for (name, came, went) in figures {
            for (direction, value) in [("in", came), ("out", went)] {
                let labels = [("device", device.name.as_str()), ("direction", direction)];
                page.one(name, &labels, float(value));
            }
        }
    }
    Ok(())
}

fn udp(page: &mut Page) -> ProcResult<()> {
    let counts = procfs::net::snmp()?;
    let reasons = [
        ("receive_buffer", counts.udp_rcvbuf_errors),
        ("send_buffer", counts.udp_sndbuf_errors),
        ("checksum", counts.udp_in_csum_errors),
    ];
    for (why, count) in reasons {
        page.one(
            "anteroom_host_udp_errors_total",
            &[("why", why)],
            float(count),
        );
    }
    Ok(())
}

fn disks(page: &mut Page) -> ProcResult<()> {
    let disks = procfs::diskstats()?;
    let disks = disks.iter().filter(|disk| is_whole_disk(&disk.name));
    for disk in disks.take(DEVICES_MAX) {
        let device = ("device", disk.name.as_str());
        for (direction, sectors) in [("read", disk.sectors_read), ("write", disk.sectors_written)] {
            let bytes = float(sectors.saturating_mul(SECTOR_BYTES));
            let labels = [device, ("direction", direction)];
            page.one("anteroom_host_disk_bytes_total", &labels, bytes);
        }
        let busy = seconds(disk.time_in_progress, 1_000);
        page.one("anteroom_host_disk_io_seconds_total", &[device], busy);
    }
    Ok(())
}

/// No partition, whose figures are in its disk's, and nothing that lives in memory or in a file.
fn is_whole_disk(name: &str) -> bool {
    let virtual_ones = ["loop", "ram", "zram"];
    let is_virtual = virtual_ones.iter().any(|prefix| name.starts_with(prefix));
    !is_virtual && Path::new("/sys/block").join(name).exists()
}

/// The file system of the folder, or of the nearest one above that exists.
fn disk_space(page: &mut Page, folder: &Path) {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let there = absolute.ancestors().find(|folder| folder.exists());
    let Some(Ok(found)) = there.map(rustix::fs::statvfs) else {
        return;
    };
    let folder = folder.to_string_lossy();
    let labels = [("folder", folder.as_ref())];
    let of_blocks = |blocks: u64| float(blocks.saturating_mul(found.f_frsize));
    let size = of_blocks(found.f_blocks);
    page.one("anteroom_host_filesystem_size_bytes", &labels, size);
    let free = of_blocks(found.f_bavail);
    page.one("anteroom_host_filesystem_free_bytes", &labels, free);
}

/// Exact up to 2^53: 9 PB, or 285 years of microseconds.
fn float(value: u64) -> f64 {
    value as f64
}

fn seconds(count: u64, per_second: u64) -> f64 {
    float(count) / float(per_second.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_machine_can_be_read() {
        let mut page = Page::default();
        read(&mut page, Path::new("no-such-folder/below"));
        let text = page.into_text();
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.rsplit(' ').next());
            value
                .and_then(|value| value.parse().ok())
                .unwrap_or_else(|| panic!("no {name} in {text}"))
        };
        assert!(value("process_resident_memory_bytes ") > 1e6);
        assert!(value("process_open_fds ") >= 3.0);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let age = now - value("process_start_time_seconds ");
        assert!((-2.0..3_600.0).contains(&age), "started {age} s ago");
        assert!(value("anteroom_host_cpu_seconds_total{mode=\"idle\"}") > 0.0);
        let total = value("anteroom_host_memory_total_bytes ");
        assert!(value("anteroom_host_memory_available_bytes ") < total);
        assert!(
            value("anteroom_host_network_packets_total{device=\"lo\",direction=\"in\"}") >= 0.0
        );
        assert!(
            value("anteroom_host_filesystem_size_bytes{folder=\"no-such-folder/below\"}") > 1e6
        );
    }
}
