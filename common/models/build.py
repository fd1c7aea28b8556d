"""A model of the registry as a Keras network on its backbones."""

from common.models import weight_files


def find_backbones(variant, options):
    """The weight files of the autoencoders that `variant` stands on, None each where their path is left out."""
    if variant.vgg or options.backbone_path is None:
        return [None] * len(variant.backbones)
    names = [name.format(level=options.level) for name in variant.backbones]
    return [weight_files.find(options.backbone_path, [name], f"{variant.name}'s autoencoder") for name in names]


def build(variant, level, backbone_files, vgg_weights="none"):
    """The model of `variant` on its backbones, these with the weights of the files given, or of ImageNet."""
    import keras

    if variant.vgg:
        from common.models.vgg import build_vgg

        return variant.build(build_vgg(variant.input.shape, vgg_weights), variant.level_outputs(level))

    from common.models.autoencoder import build_autoencoder

    backbones, several = [], len(backbone_files) > 1
    picture = keras.Input(variant.input.shape, name="picture")
    for number, file in enumerate(backbone_files, start=1):
        backbones.append(build_autoencoder(picture, prefix=f"jnd{number}_" if several else ""))
        if file is not None:
            weight_files.load(backbones[-1], file, f"{variant.name}'s autoencoder")
    return variant.build(*backbones)
