"""The 3D U-Net: data, loop, checkpoint, application."""
