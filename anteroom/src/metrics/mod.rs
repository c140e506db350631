//! Metrics of every program: its process and its machine, and the page on which all of them are shown.
//!
//! The roles' own metrics go through the recorder. These are read from the kernel when somebody asks,
//! so that they are never old, and a device that is gone is not shown.

mod catalogue;
#[cfg(target_os = "linux")]
mod linux;
mod page;

pub(crate) use catalogue::METRICS;

use metrics_exporter_prometheus::PrometheusHandle;
use page::Page;
use std::path::PathBuf;
use std::sync::Arc;

/// Where all metrics of this process can be read.
#[derive(Clone)]
pub(crate) struct Metrics {
    recorder: PrometheusHandle,
    /// The folder whose disk is watched.
    folder: Arc<PathBuf>,
}

impl Metrics {
    pub(crate) fn new(recorder: PrometheusHandle, folder: PathBuf) -> Self {
        Self {
            recorder,
            folder: Arc::new(folder),
        }
    }

    /// Keeps histograms small while nobody scrapes.
    pub(crate) fn run_upkeep(&self) {
        self.recorder.run_upkeep();
    }

    /// Everything, in Prometheus' text format. Reads some small files: call it where that may block.
    pub(crate) fn render(&self) -> String {
        let mut page = Page::default();
        page.one(
            "anteroom_build_info",
            &[("version", env!("CARGO_PKG_VERSION"))],
            1.0,
        );
        #[cfg(target_os = "linux")]
        linux::read(&mut page, &self.folder);
        let mut text = self.recorder.render();
        text.push_str(&page.into_text());
        text
    }
}
