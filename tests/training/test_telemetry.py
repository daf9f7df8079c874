from __future__ import annotations

import http.server
import threading

import pytest

from glioscope.training.telemetry import Telemetry


@pytest.fixture
def gateway():
    """An HTTP server that keeps what is put to it, as a Pushgateway does."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            server.kept.append((self.path, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.kept = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_textfile_for_node_exporter(tmp_path):
    file = tmp_path / "training.prom"
    telemetry = Telemetry("gp_unet", textfile=file)
    telemetry.set(epoch=3, loss=0.25, slices_per_second=100)
    telemetry.close()
    lines = file.read_text().splitlines()
    assert 'glioscope_training_epoch{model="gp_unet"} 3.0' in lines
    assert 'glioscope_training_loss{model="gp_unet"} 0.25' in lines
    assert "# TYPE glioscope_training_loss gauge" in lines


def test_pushgateway_from_the_environment(gateway, monkeypatch):
    monkeypatch.setenv("GLIOSCOPE_PUSHGATEWAY", f"127.0.0.1:{gateway.server_port}")
    telemetry = Telemetry("gp_unet")
    telemetry.set(validation_f1_macro=0.5)
    telemetry.close()
    path, body = gateway.kept[-1]
    assert path == "/metrics/job/glioscope_train/model/gp_unet"
    assert 'glioscope_training_validation_f1_macro{model="gp_unet"} 0.5' in body


def test_a_monitor_that_is_down_is_one_warning_and_no_more(capsys, tmp_path):
    telemetry = Telemetry("gp_unet", pushgateway="127.0.0.1:9", textfile=tmp_path / "missing" / "x.prom")
    for loss in (1.0, 2.0, 3.0):
        telemetry.set(loss=loss)
        telemetry.send()
    telemetry.close()
    warnings = capsys.readouterr().err
    assert warnings.count("\n") == 1
    assert warnings.startswith("warning: training metrics cannot be sent")


def test_without_a_target_nothing_is_sent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("GLIOSCOPE_METRICS_TEXTFILE", "GLIOSCOPE_PUSHGATEWAY"):
        monkeypatch.delenv(name, raising=False)
    telemetry = Telemetry("gp_unet")
    telemetry.set(loss=1.0)
    telemetry.close()
    assert not list(tmp_path.iterdir())
