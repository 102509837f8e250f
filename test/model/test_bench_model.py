import argparse

from roboref_node.evaluation import bench_model


def test_a_row_has_all_keys_and_the_stages_add_up():
    parser = argparse.ArgumentParser()
    bench_model.add_arguments(parser)
    result = bench_model.run(parser.parse_args(["--shape", "nano", "--image", "64x48", "--repeats", "3", "--tokens", "4"]))
    keys = {
        "device",
        "shape",
        "image",
        "p50_ms",
        "p95_ms",
        "vision_ms",
        "prefill_ms",
        "per_token_ms",
        "floor_ms",
        "plain_p50_ms",
        "speedup",
    }
    assert keys | {"memory_gb"} <= result.keys()
    assert (result["shape"], result["image"], result["answer_tokens"]) == ("nano", "64x48", 4)
    assert result["same_tokens_as_plain"]
    assert 0 < result["vision_ms"] < result["p95_ms"]
    assert result["p50_ms"] <= result["p95_ms"]
    assert result["floor_ms"] > 0
    assert len(result["rows"]) == 1
