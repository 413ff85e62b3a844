// An orbit camera: a position that looks at a target, with z upwards.

const HOME = { position: [0, -2.35, 2.3], target: [0, 0, 0] };
const NEAR = 0.35;
const FAR = 12;
const STEEPEST = 1.5533; // 89 degrees: straight above, left and right would mean nothing

export class Camera {
  constructor() {
    this.reset();
  }

  reset() {
    this.target = [...HOME.target];
    this.position = HOME.position;
  }

  get position() {
    const flat = this.distance * Math.cos(this.height);
    return [
      this.target[0] + flat * Math.cos(this.turn),
      this.target[1] + flat * Math.sin(this.turn),
      this.target[2] + this.distance * Math.sin(this.height),
    ];
  }

  set position(place) {
    const [x, y, z] = place.map((value, i) => value - this.target[i]);
    this.distance = clamp(Math.hypot(x, y, z), NEAR, FAR);
    this.height = clamp(Math.atan2(z, Math.hypot(x, y)), -STEEPEST, STEEPEST);
    if (Math.hypot(x, y) > 1e-9) this.turn = Math.atan2(y, x);
    this.turn ??= -Math.PI / 2;
  }

  orbit(turn, height) {
    this.turn = Math.atan2(Math.sin(this.turn + turn), Math.cos(this.turn + turn));
    this.height = clamp(this.height + height, -STEEPEST, STEEPEST);
  }

  zoom(factor) {
    this.distance = clamp(this.distance / factor, NEAR, FAR);
  }

  /** Move the target, and with it the camera, by shares of the distance to the right and upwards. */
  pan(right, up) {
    const { r, u } = this.axes();
    this.target = this.target.map((value, i) => clamp(value + this.distance * (right * r[i] + up * u[i]), -4, 4));
  }

  /** Right, up and forward. */
  axes() {
    const [ct, st, ch, sh] = [Math.cos(this.turn), Math.sin(this.turn), Math.cos(this.height), Math.sin(this.height)];
    return { r: [-st, ct, 0], u: [-sh * ct, -sh * st, ch], f: [-ch * ct, -ch * st, -sh] };
  }

  /** Return the function from a place to [x, y, pixels per unit there, depth]; null for what is behind the camera. */
  lens(width, height) {
    const { r, u, f } = this.axes();
    const eye = this.position;
    const k = Math.min(width, height / 0.74) * 1.24;
    return (x, y, z) => {
      const [dx, dy, dz] = [x - eye[0], y - eye[1], z - eye[2]];
      const depth = dx * f[0] + dy * f[1] + dz * f[2];
      if (depth < 0.05) return null;
      const scale = k / depth;
      const across = dx * r[0] + dy * r[1] + dz * r[2];
      const upward = dx * u[0] + dy * u[1] + dz * u[2];
      return [width / 2 + scale * across, height / 2 - scale * upward, scale, depth];
    };
  }
}

function clamp(value, least, most) {
  return Math.min(most, Math.max(least, value));
}
