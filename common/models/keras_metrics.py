"""Keras metrics of an image output."""


def image_metrics():
    """Keras metrics for an image output in pixel values 0..255, `psnr` (dB) and `ssim`, a value a picture.

    SSIM is TensorFlow's (Gaussian window 11 x 11, sigma 1.5), as the released programs report it; `ssim` above has the
    same window.
    """
    import keras
    import tensorflow as tf

    def psnr(true, predicted):
        return tf.image.psnr(true, predicted, max_val=255)

    def ssim(true, predicted):
        return tf.image.ssim(true, predicted, max_val=255)

    return [keras.metrics.MeanMetricWrapper(function, name=function.__name__) for function in (psnr, ssim)]
