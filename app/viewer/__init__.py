"""The 3-D view's own process: it draws a scene or a point cloud without a window, and never keeps anybody waiting.

``python -m app.viewer FRAMES`` reads one JSON command a line on stdin, writes one JSON event a line on stdout and ends
when stdin does. ``FRAMES`` is a file made by `app.viewer.frames.new_file`, in which the pictures appear; whoever made
it has opened it before, for it is unlinked at once.

Places in the picture are shares of its width and height, ``x`` to the right and ``y`` down. Poses are ``(4, 4)``
`scene_from_object`, lengths metres, colours ``[red, green, blue]`` 0 … 255.

Commands, by ``"do"``:

- ``scene`` (``folder``): show a scene folder; ``reload``: it was edited, so take over what has changed.
- ``points`` (``path``): show an ``.npz`` with ``points`` (N, 3), ``colors`` (N, 3) uint8 and, as wished, ``path``
  (M, 3), the camera's way; z is up. Told again, it takes the place of what was shown.
- ``clear``: show nothing.
- ``camera`` (``position``, ``focal``, ``up``, ``angle`` in degrees, vertical).
- ``size`` (``width``, ``height``): pixels. ``colors`` (``top``, ``bottom``): of what is behind everything.
- ``options``: any of ``background``, ``supports``, ``parts`` (convex parts, a hue each), ``seen`` (green: measured,
  orange: guessed), ``wireframe``, ``reach`` (show and say what the robot reaches; all true or false) and ``robot`` (a
  name or the path of a TOML file, null for none). It stands where the scene says, else where it would in cousins.
- ``robot`` (``pose``: `scene_from_robot`): show the robot elsewhere, null: where it belongs.
- ``select`` (``names``): outline these. ``pose`` (``name``, ``pose``): show a thing elsewhere, null: where it belongs.
- ``cut`` (``name``, ``point``, ``normal``): show a plane through a thing and where it meets its surface; null: none.
- ``thumbnails`` (``width``, ``height``): from now on draw each thing alone, so large, whenever there is nothing else to
  do, and again when it has changed; 0: no more.
- ``pick`` (``x``, ``y``, ``id``): what is there?
- ``play``, ``pause``, ``reset``: physics; ``grab`` (``x``, ``y``), ``drag`` (``x``, ``y``), ``release``: by the mouse.
- ``drive`` (``robot``: a name, or null): physics begins anew, from now on with that robot in it, to be driven. ``jog``
  (``move``, ``turn``: as `simulation.teleoperation.Command`): move its hand like this from now on, as seen from where
  the camera is now. ``joints`` (``joint``, ``value``: the number of one, and where to bring it, rad or m; ``opening``:
  of its gripper, 0 … 1; either may be left out).

Events, by ``"event"``:

- ``ready``: commands are read from now on.
- ``loaded`` (``kind`` scene or points, ``again``, ``objects``: a list of ``name``, ``pose``, ``low``, ``high`` (its box
  in its own frame), ``low``, ``high`` (of what is worth seeing), ``camera``: a good one, which is in use unless
  ``again``).
- ``frame`` (``slot``, ``width``, ``height``, ``number``, ``still``, ``camera``: it was drawn with it, ``seconds``).
- ``picked`` (``id``, ``kind``: object, support, background, point or nothing; ``name``, ``point``, ``normal``).
- ``physics`` (``state``: playing, paused or reset); ``grabbed`` (``name``, empty where there was nothing).
- ``driven`` (``robot``, ``joints``: a list of ``name``, ``low``, ``high``): the robot is in the world. ``arm``
  (``joints``: where it is told to be, its gripper's opening last; ``blocked``: something is in its way).
- ``cut`` (``name``, ``met``: whether the plane goes through the thing).
- ``thumbnail`` (``name``, ``png``: base64, with transparency, ``seconds``).
- ``robot`` (``name``, ``pose``: where it belongs, null: nowhere; ``said``: the scene says so; ``boxes``: a lowest and
  a highest corner of each link in its own frame; ``message``, ``remedy``: what is wrong with it, else empty): it is
  shown, or its scene is another.
- ``reach`` (``reached``, ``missed``, ``inside``: names of things that the robot reaches and of those that it does not
  from where it is shown, and of those that its base stands in; ``far``: how far it reaches on the table, 0: nowhere).
- ``error`` (``code``, ``message``, ``remedy``, ``about``: the command that failed).
"""
