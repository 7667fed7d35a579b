"""Cousin after cousin in one physics world: what they share is made once and kept.

Between two cousins the world is emptied as by `World.clear`, not tidied up body by body: PyBullet keeps the order of
its collision pairs and some kilobytes of every body that it has ever removed, so that a cousin's physics would depend
on those before it, and memory would grow. Emptied, a cousin moves bit for bit as in a world of its own.
"""

from __future__ import annotations

from pathlib import Path

from reconstruction.scene import HULL_MARGIN_M, Scene, support_slab
from reconstruction.temporary import TemporaryFolder
from simulation.bank import Wardrobe
from simulation.cousins import Cousin, dress
from simulation.world import World, WorldSettings, write_shape


class Family:
    """A world in which the cousins of one scene are loaded, one at a time; use it as a context manager.

    Attributes:
        wardrobe: what stands in them.
        world: where they stand.
    """

    def __init__(self, wardrobe: Wardrobe, settings: WorldSettings = WorldSettings()) -> None:  # noqa: B008 - frozen
        """Start with an empty world."""
        self.wardrobe = wardrobe
        self.world = World(settings)
        self._folder = TemporaryFolder("family")
        self._shapes: dict[tuple[str, int], Path] = {}

    def __enter__(self) -> Family:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the world; harmless when repeated."""
        self.world.close()
        self._folder.cleanup()

    def load(self, cousin: Cousin) -> Scene:
        """Put a cousin into the world in place of the one before it; returns it as a scene.

        Meshes and convex parts of the scene are those of the wardrobe, the same for all cousins; only textures are
        painted anew.

        Raises:
            InputError: the recipe belongs to another scene, or to another pool.
        """
        scene = dress(cousin, self.wardrobe)
        self.fill(self.world, cousin, scene)
        return scene

    def fill(self, world: World, cousin: Cousin, scene: Scene) -> None:
        """Put a cousin, which is `scene`, into some world in place of all that is there."""
        world.clear()
        for support in scene.supports:
            world.add_fixed(support.name, support_slab(support, HULL_MARGIN_M))
        for item in scene.objects:
            placed = cousin.objects[item.name]
            shape = world.add_shape_file(self._shape(placed.source, placed.form))
            world.add_solid(item.name, shape, item)

    def _shape(self, source: str, form: int) -> Path:
        if (source, form) not in self._shapes:
            path = self._folder.path / f"{len(self._shapes)}.obj"
            write_shape(path, self.wardrobe.form(source, form).convex_parts)
            self._shapes[source, form] = path
        return self._shapes[source, form]
