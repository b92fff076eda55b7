"""The IBM VGA: registers, 256 KiB of video memory in four planes, DAC, text screen."""
