from upscaler.video.segments import frames_per_segment


def test_segment_is_about_a_minute_of_work() -> None:
    assert frames_per_segment(1e14, "cpu") == 120
    assert frames_per_segment(640 * 480 * 52_000, "cpu") == 375
    assert frames_per_segment(0, "cpu") == frames_per_segment(1e9, "cuda") == 1200
